"""The errors of the domain: each has a fixed reason for conditions and metrics, and a sentence for people.

`title` is the sentence of the specification's error table; `str(error)` is the detail that reaches `status.message` and
`pipeline_runs.error_message`. Where the table has only one wording, both are the same.
"""


class PipelinesError(Exception):
    """Base of everything the domain refuses; `reason` is CamelCase, as in a Kubernetes condition."""

    reason = "InternalError"

    def __init__(self, message: str, *, title: str | None = None) -> None:
        super().__init__(message)
        self.title = title or message


class ConfigInvalidError(PipelinesError):
    """A file of the catalog breaks a rule; the message names file, line and field."""

    reason = "ConfigInvalid"


class UnknownProviderError(PipelinesError):
    """The provider isn't in `configs/system/providers.yml`."""

    reason = "UnknownProvider"

    def __init__(self, provider: str) -> None:
        super().__init__(f"Unknown provider: {provider}")


class PipelineNotFoundError(PipelinesError):
    """No config stands at `configs/{provider}/{domain}/{pipeline}.yml`."""

    reason = "PipelineNotFound"

    def __init__(self, provider: str, domain: str, pipeline: str) -> None:
        super().__init__(f"Pipeline not found: {provider}/{domain}/{pipeline}")


class RequestInvalidError(PipelinesError):
    """A run was asked for with an identifier, a time or a limit that can't be; the message names the field."""

    reason = "RequestInvalid"


class ParametersInvalidError(PipelinesError):
    """A parameter is unknown, missing, of the wrong type, or contradicts another."""

    reason = "ParametersInvalid"


class TemplateInvalidError(PipelinesError):
    """A template names a variable that doesn't exist, or isn't well formed."""

    reason = "TemplateInvalid"


class IntegrationNotActiveError(PipelinesError):
    """The organization has no active integration with the provider, or one that can't be used: `why` says so."""

    reason = "IntegrationNotActive"

    def __init__(self, provider: str, why: str = "") -> None:
        title = f"{provider} integration not active"
        super().__init__(f"{title}: {why}" if why else title, title=title)
