"""Problems: every refusal as RFC 9457 has it, from an error of the domain or of a service."""

import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from pipeline_bridge.problem_examples import EXAMPLES, HEADERS, SCHEMA_REF
from pipeline_core.errors import ConfigInvalidError, PipelinesError
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError

MEDIA_TYPE = "application/problem+json"
# Seconds after which asking again may help, where a service is away.
RETRY_AFTER = {"Retry-After": "5"}

_STATUS = {
    "UnknownProvider": 404,
    "PipelineNotFound": 404,
    "RunNotRecorded": 404,
    "RequestInvalid": 422,
    "ParametersInvalid": 422,
    "IdempotencyKeyReused": 422,
    "OrganizationNotFound": 403,
    "SubscriptionInactive": 403,
    "IntegrationNotActive": 409,
    "TemplateInvalid": 409,
    "RunIdTaken": 409,
    "BackfillUnderWay": 409,
    "BackfillIdUsed": 409,
    "DailyLimitReached": 429,
    "MonthlyLimitReached": 429,
    "ConcurrentLimitReached": 429,
}
# Whose sentence in the specification's table of errors is the title, with a name or a status in it.
_TITLED_BY_THEIR_MESSAGE = frozenset({"UnknownProvider", "PipelineNotFound", "IntegrationNotActive"})
# Of a title's words, those that aren't written small.
_NAMES = {"kubernetes": "Kubernetes", "json": "JSON"}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]*")
# What role-based access control says; admission speaks of the object instead.
_NOT_ALLOWED_TO_US = re.compile(r'User ".*" cannot ')


class Problem(Exception):  # noqa: N818 - the standard's own word
    """A refusal. `reason` is CamelCase; `type` and, where none is given, `title` follow from it. A reason has one title
    (RFC 9457, 3.1.3), but for those of the specification's table.

    `members` are added to the body, `headers` to the answer.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.title = title or title_of(reason)
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def body(self, *, instance: str, request_id: str) -> dict[str, object]:
        """The answer's body; `instance` is the path that was asked for."""
        return {
            "type": type_of(self.reason),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            **self.members,
        }


def type_of(reason: str) -> str:
    """`urn:pipelines:problem:run-not-found` for RunNotFound."""
    return "urn:pipelines:problem:" + "-".join(word.lower() for word in _WORDS.findall(reason))


def title_of(reason: str) -> str:
    """`Run not found` for RunNotFound."""
    text = " ".join(word if word.isupper() else word.lower() for word in _WORDS.findall(reason)).capitalize()
    return " ".join(_NAMES.get(word.lower(), word) for word in text.split())


def problem_of(error: PipelinesError | KubeError | KubeUnavailableError) -> Problem:
    """The problem that an error is to a caller.

    What a service says of itself (addresses, users, files) stays out of it. A reason that isn't known here is a defect
    and becomes a 500.
    """
    match error:
        case StoreUnavailableError():
            return Problem(503, error.reason, "The store can't be reached; try again later", headers=RETRY_AFTER)
        case KubeUnavailableError():
            detail = "The Kubernetes API can't be reached; try again later"
            return Problem(503, "KubernetesUnavailable", detail, headers=RETRY_AFTER)
        case ConfigInvalidError():
            detail = "The catalog of pipelines can't be used; an operator has to mend it"
            return Problem(503, "CatalogUnusable", detail, headers=RETRY_AFTER)
        case KubeError():
            return _refused_by_kubernetes(error)
        case PipelinesError(reason=reason) if reason in _STATUS:
            is_fixed = error.title != str(error) or reason in _TITLED_BY_THEIR_MESSAGE
            return Problem(_STATUS[reason], reason, str(error), title=error.title if is_fixed else None)
    return Problem(500, "InternalError", "Something went wrong; the log has it under this request id")


def _refused_by_kubernetes(error: KubeError) -> Problem:
    if error.status == 409:
        detail = "The object was changed or made by another at the same moment; read it and try again"
        return Problem(409, "Conflict", detail)
    if error.status in (400, 403, 422) and not _NOT_ALLOWED_TO_US.search(error.message):
        return Problem(422, "RefusedByKubernetes", error.message)
    return Problem(502, "KubernetesRefused", "The Kubernetes API refuses the bridge; an operator has to mend it")


def responses(*statuses: int, reasons: Collection[str] = ()) -> dict[int | str, dict[str, Any]]:
    """What an endpoint answers where it refuses, for FastAPI's `responses=`: schema, headers and examples.

    `reasons` narrows the examples to those that this endpoint can have; a status of which none is among them keeps all.
    Raises KeyError for a status without an example.
    """
    return {status: _response(status, reasons) for status in statuses}


def _response(status: int, reasons: Collection[str]) -> dict[str, Any]:
    known = EXAMPLES[status]
    chosen = [each for each in known if each.reason in reasons] or known
    examples = {}
    for each in chosen:
        problem = Problem(status, each.reason, each.detail, title=each.title, members=each.members)
        body = problem.body(instance=each.instance, request_id="0f8c1e5b7a924d06b3d1c2a4e6f80917")
        examples[each.reason] = {"summary": problem.title, "value": body}
    found: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(examples)}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMA_REF}, "examples": examples}},
    }
    if status in HEADERS:
        found["headers"] = HEADERS[status]
    return found
