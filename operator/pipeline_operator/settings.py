"""The operator's settings, from the environment (`PIPELINES_*`, `POD_*`) and the runner template's file."""

from datetime import timedelta
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any, Literal
from uuid import uuid4

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_core import identifiers
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.credentials.names import keyset_secret_name
from pipeline_core.errors import ConfigInvalidError
from pipeline_core.lifecycle.actions import Deadlines
from pipeline_core.settings import Names, ProcessorPackages

_log = structlog.get_logger(__name__)


class OperatorSettings(BaseSettings):
    """One process of the operator. Seconds where a number is a time."""

    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore")

    env: Annotated[str, Field(pattern=f"^{identifiers.ENV.pattern}$")]
    # Namespaces to watch; none means all of them.
    namespaces: Names = []
    # Whose runs may be in a namespace.
    tenancy: TenancyMode = TenancyMode.SHARED
    catalog_dir: Path = Path("/etc/pipelines/configs")
    processor_packages: ProcessorPackages = []
    runner_template: Path = Path("/etc/pipelines/runner/runner.yaml")
    # The Secret with each organization's keyset, `{org}` in it; empty: runs get none.
    keyset_secret: str = ""
    # Where runner pods send progress; empty means that they send none.
    progress_url: str = ""
    progress_key: SecretStr = SecretStr("")
    http_host: str = "0.0.0.0"  # noqa: S104 - inside a pod; the chart narrows it where the pod shares the node's network
    http_port: int = 8080
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    concurrency: Annotated[int, Field(ge=1, le=256)] = 32
    resync_seconds: Annotated[int, Field(ge=10)] = 300
    # How long a run may wait for a pod or a node, and for its container to start (pipeline_core.lifecycle.actions).
    schedule_deadline_seconds: Annotated[int, Field(ge=1)] = 900
    start_deadline_seconds: Annotated[int, Field(ge=1)] = 300
    # For how long a watch may not show what the API server's answers tell of, before the process counts as blind; kopf
    # takes up to 70 to notice a connection that has died in silence.
    watch_patience_seconds: Annotated[int, Field(ge=10)] = 90
    # The Lease that the leader of this installation holds.
    lease: Annotated[str, Field(min_length=1)] = "pipelines-operator"
    pod_namespace: Annotated[str, Field(validation_alias="POD_NAMESPACE")] = "default"
    # Two processes must never share one name: it is what the leader's Lease holds.
    pod_name: Annotated[str, Field(validation_alias="POD_NAME", default_factory=lambda: f"{gethostname()}-{uuid4()}")]

    @field_validator("keyset_secret")
    @classmethod
    def _is_one_for_each(cls, template: str) -> str:
        if template:
            keyset_secret_name(template, "a" + "_" * 61 + "a")  # the name that becomes the longest
        return template

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of runs that wait for Kubernetes."""
        schedule, start = self.schedule_deadline_seconds, self.start_deadline_seconds
        return Deadlines(timedelta(seconds=schedule), timedelta(seconds=start))


class RunnerTemplate(BaseModel):
    """What an installation decides about runner pods; the fragments are Kubernetes' own, passed through as they are.

    While a release is upgraded, operators of the version before read the new file. What isn't Kubernetes' own is
    therefore a variable of the operator's, and fields of a later version are left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    image: Annotated[str, Field(min_length=1)]
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"  # noqa: N815 - Kubernetes' spelling
    serviceAccountName: str = "default"  # noqa: N815
    hostNetwork: bool = False  # noqa: N815
    resources: dict[str, Any] = {}
    nodeSelector: dict[str, str] = {}  # noqa: N815
    tolerations: list[dict[str, Any]] = []
    imagePullSecrets: list[dict[str, str]] = []  # noqa: N815
    env: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    volumeMounts: list[dict[str, Any]] = []  # noqa: N815
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> "RunnerTemplate":
        """Read the template. Raises ConfigInvalidError that names the file and the field."""
        try:
            content = yaml.safe_load(path.read_text())
            template = cls.model_validate(content)
        except OSError as error:
            raise ConfigInvalidError(f"{path}: the runner template can't be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigInvalidError(f"{path}: the runner template isn't YAML: {error}") from error
        except ValidationError as error:
            where = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigInvalidError(f"{path}: {where}") from error
        if unknown := content.keys() - cls.model_fields.keys():
            _log.warning("the runner template has fields that this version doesn't know", fields=sorted(unknown))
        return template


class RunnerTemplateFile:
    """The template as the file has it now; it is read anew only when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], RunnerTemplate] | None = None

    def current(self) -> RunnerTemplate:
        """Raises ConfigInvalidError, see `RunnerTemplate.load`."""
        try:
            found = self._path.stat()
        except OSError:
            return RunnerTemplate.load(self._path)  # which says what is wrong
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._read is None or self._read[0] != version:
            self._read = version, RunnerTemplate.load(self._path)
        return self._read[1]
