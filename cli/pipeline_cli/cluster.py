"""Connects a command to the Kubernetes API, as kubectl would, and reads and changes schedules there."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@asynccontextmanager
async def connected() -> "AsyncIterator[Api]":
    """A connection by KUBECONFIG's current context, or a pod's own; what goes wrong within is told in a sentence."""
    from kubernetes.aio.config import ConfigException

    from pipeline_core.kube.api import KubeApi, KubeError, KubeUnavailableError

    try:
        api = await KubeApi.from_environment()
        try:
            yield api
        finally:
            await api.close()
    except ConfigException as error:
        raise refused(f"KUBECONFIG: {error}") from None
    except KubeUnavailableError as error:
        raise refused(f"Kubernetes can't be reached: {error}", ExitCode.TRANSIENT) from None
    except KubeError as error:
        raise refused(f"Kubernetes: {error}") from None


def namespace_of(given: str | None) -> str:
    """The namespace that is meant: the one that is given, or that of the current context."""
    from kubernetes.aio.config import ConfigException, list_kube_config_contexts

    if given is not None:
        return given
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _OWN_NAMESPACE.read_text().strip()
    try:
        _, current = list_kube_config_contexts()
    except ConfigException as error:
        raise refused(f"KUBECONFIG: {error}") from None
    return str(current["context"].get("namespace") or "default")


async def get_schedule(api: "Api", namespace: str, name: str) -> "Json":
    """The PipelineSchedule; ends the command where there is none."""
    from pipeline_core.kube.objects import get_object
    from pipeline_core.kube.paths import PIPELINES, resource_path

    found = await get_object(api, resource_path(PIPELINES, namespace, names.SCHEDULES, name))
    if found is None:
        raise refused(f"no PipelineSchedule {name} in namespace {namespace}; another one is named with --namespace")
    return found


async def patch_schedule(api: "Api", schedule: "Json", spec_of: "Callable[[Json], Json | None]") -> "Json | None":
    """Merge what `spec_of` says into the schedule's spec, and return what that was; None: nothing has to be written.

    It is asked again where the schedule was changed meanwhile.
    """
    from pipeline_core.kube.api import KubeError
    from pipeline_core.kube.paths import PIPELINES, resource_path

    namespace, name = schedule["metadata"]["namespace"], schedule["metadata"]["name"]
    path = resource_path(PIPELINES, namespace, names.SCHEDULES, name)
    for attempt in range(_TRIES):
        if attempt:
            schedule = await get_schedule(api, namespace, name)
        spec = spec_of(schedule)
        if spec is None:
            return None
        # No other object ever has this version, so one that took the name meanwhile is left alone, too.
        body = {"metadata": {"resourceVersion": schedule["metadata"]["resourceVersion"]}, "spec": spec}
        try:
            await api.request("PATCH", path, query=_MANAGER, body=body)
        except KubeError as error:
            if error.reason != "Conflict":
                raise
        else:
            return spec
    raise refused(f"schedule {name} was changed by others {_TRIES} times meanwhile; try again", ExitCode.TRANSIENT)
