"""Connects a command to the Kubernetes API, as kubectl would, and reads and changes schedules there."""

import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_cli.failing import refused
from pipeline_core.kube import names
from pipeline_core.outcome import ExitCode

# Clients are imported where they are needed: most commands never meet a service.
if TYPE_CHECKING:
    from pipeline_core.kube.api import Api, Json

# A status is written while its schedule is changed here; then the change is made upon that.
_TRIES = 5
_MANAGER = {"fieldManager": "pipelines-cli"}
_IN_POD = "KUBERNETES_SERVICE_HOST"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Of labels and subdomains as Kubernetes has them (RFC 1123).
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAMESPACE = re.compile(_LABEL)
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


@asynccontextmanager
async def connected() -> "AsyncIterator[Api]":
    """A connection by KUBECONFIG's current context, or a pod's own; what goes wrong within is told in a sentence."""
    from pipeline_core.kube.api import KubeApi, KubeError, KubeUnavailableError

    try:
        with _reading_configuration():
            api = await KubeApi.from_environment()
        try:
            yield api
        finally:
            await api.close()
    except KubeUnavailableError as error:
        raise refused(f"Kubernetes can't be reached: {error}", ExitCode.TRANSIENT) from None
    except KubeError as error:
        raise refused(f"Kubernetes: {error}") from None


def namespace_of(given: str | None) -> str:
    """The namespace that is meant: the one that is given, or that of the current context."""
    if given is not None:
        return _namespace("--namespace", given)
    if os.environ.get(_IN_POD):
        with _reading_configuration():
            own = _OWN_NAMESPACE.read_text().strip()
        return _namespace(str(_OWN_NAMESPACE), own)
    from kubernetes.aio.config import list_kube_config_contexts

    with _reading_configuration():
        _, current = list_kube_config_contexts()
        found = str(current["context"].get("namespace") or "default")
    return _namespace("KUBECONFIG: namespace of the current context", found)


def schedule_name(given: str) -> str:
    """The name of a PipelineSchedule, which becomes part of an address. Raises ValueError."""
    if not _NAME.fullmatch(given):
        expected = "lower-case letters, digits, '-' and '.', with a letter or a digit at both ends, such as nightly"
        raise ValueError(f"schedule {given!r:.100}: expected the name of a PipelineSchedule: {expected}")
    return given


async def get_schedule(api: "Api", namespace: str, name: str) -> "Json":
    """The PipelineSchedule; ends the command where there is none."""
    from pipeline_core.kube.objects import get_object
    from pipeline_core.kube.paths import PIPELINES, resource_path

    path = resource_path(PIPELINES, namespace, names.SCHEDULES, name)
    found = await get_object(api, path)
    if found is None:
        raise refused(f"no PipelineSchedule {name} in namespace {namespace}; another one is named with --namespace")
    _check_answer("GET", path, found)
    return found


async def patch_schedule(api: "Api", schedule: "Json", spec_of: "Callable[[Json], Json | None]") -> "Json | None":
    """Merge what `spec_of` says into the schedule's spec, and return what that was; None: nothing has to be written.

    It is asked again where the schedule was changed meanwhile; one that was made anew isn't that schedule.
    """
    from pipeline_core.kube.api import KubeError
    from pipeline_core.kube.paths import PIPELINES, resource_path

    metadata = schedule["metadata"]
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    path = resource_path(PIPELINES, namespace, names.SCHEDULES, name)
    for attempt in range(_TRIES):
        if attempt:
            schedule = await get_schedule(api, namespace, name)
        if schedule["metadata"]["uid"] != uid:
            raise changed_meanwhile(name, "it was deleted and made anew")
        spec = spec_of(schedule)
        if spec is None:
            return None
        # No other object ever has this version, so one that took the name meanwhile is left alone, too.
        body = {"metadata": {"resourceVersion": schedule["metadata"]["resourceVersion"]}, "spec": spec}
        try:
            answer = await api.request("PATCH", path, query=_MANAGER, body=body)
        except KubeError as error:
            if error.reason != "Conflict":
                raise
        else:
            _check_answer("PATCH", path, answer)
            return spec
    raise changed_meanwhile(name, f"{_TRIES} times")


def changed_meanwhile(name: str, how: str) -> Exception:
    """Say that the schedule isn't what it was when the command began; raise what is returned."""
    message = f"schedule {name} was changed by others meanwhile: {how}; nothing was written, try again"
    return refused(message, ExitCode.TRANSIENT)


@contextmanager
def _reading_configuration() -> "Iterator[None]":
    """What is wrong with where the connection is described, in a sentence that names the variable."""
    import yaml
    from kubernetes.aio.config import ConfigException

    try:
        yield
    # The client takes the file for what it should be: any text, list or lack of a key ends in one of these.
    except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        why = _why(error)
        if os.environ.get(_IN_POD):
            expected = "a pod with the token of its service account, or none of this variable for KUBECONFIG"
            raise refused(f"{_IN_POD} is set, but {why}: expected {expected}") from None
        given = os.environ.get("KUBECONFIG", "~/.kube/config")
        expected = "a file of YAML with clusters, users, contexts and a current-context"
        raise refused(f"KUBECONFIG {given!r:.200}: {why}; expected {expected}") from None


def _why(error: Exception) -> str:
    from kubernetes.aio.config import ConfigException

    match error:
        case OSError():
            return f"{error.filename}: {error.strerror}" if error.filename else str(error)
        case ConfigException():
            return str(error).rstrip(".")
    # Others quote the file, which may hold a token.
    line = getattr(getattr(error, "problem_mark", None), "line", None)
    return "it can't be read" if line is None else f"line {line + 1} isn't YAML"


def _namespace(field: str, given: str) -> str:
    if not NAMESPACE.fullmatch(given):
        raise ValueError(f"{field} {given!r:.100}: expected the name of a namespace, such as tenants")
    return given


def _check_answer(method: str, path: str, answer: "Json") -> None:
    """Whoever answers for the API server, as a proxy with a page to sign in, hasn't done what was asked for."""
    metadata = answer.get("metadata")
    if not isinstance(metadata, dict) or "uid" not in metadata or not isinstance(answer.get("spec"), dict):
        message = f"Kubernetes: {method} {path}: expected a PipelineSchedule, but the answer isn't one; is the address "
        raise refused(f"{message}that of the API server, and no proxy in between?")
