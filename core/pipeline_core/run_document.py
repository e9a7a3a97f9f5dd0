"""The run document: everything a runner needs to know of its run, resolved and typed.

The operator writes it to an annotation of the pod template; the container reads it as a file through the downward API
(`RUN_DOCUMENT_PATH`). It holds no secret: credentials reach the container by other ways.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline_core import identifiers

RUN_DOCUMENT_ANNOTATION = "pipelines.dev/run-document"
RUN_DOCUMENT_PATH = "/etc/pipelines/run.json"

# Kubernetes allows 256 KiB of annotations an object; the rest is left to others.
RUN_DOCUMENT_MAX_BYTES = 128 * 1024

Scalar = bool | int | float | str


class RunDocument(BaseModel):
    """One run, resolved.

    `parameters` are the effective ones: typed, defaults included, dates as `YYYY-MM-DD`. `config` is the pipeline's
    config with every template resolved; `config["processor"]`, `["source"]` and `["target"]` have the shapes of the
    file. `logical_time` is the time that `{{date}}` and its kin were taken from. `credential_secret` is the name of the
    Secret that the container finds its credentials of, in the run's namespace.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    run_id: Annotated[str, Field(pattern=f"^{identifiers.RUN_ID.pattern}$")]
    org_slug: Annotated[str, Field(pattern=f"^{identifiers.ORG_SLUG.pattern}$")]
    env: Annotated[str, Field(pattern=f"^{identifiers.ENV.pattern}$")]
    provider: str
    domain: str
    pipeline: str
    logical_time: AwareDatetime
    parameters: dict[str, Scalar]
    config: dict[str, Any]
    timeout_seconds: Annotated[int, Field(gt=0)]
    max_retries: Annotated[int, Field(ge=0)]
    # Left out where there is none: what an older operator wrote stays the same, byte for byte.
    credential_secret: str | None = Field(default=None, exclude_if=lambda value: value is None)
