"""Reads what belongs to a run from the API server: by its UID, not by names that something else may have taken."""

from collections.abc import Mapping
from typing import Any

from pipeline_core import identifiers
from pipeline_core.kube.api import Json, KubeError
from pipeline_core.lifecycle.observed import Job, Pod
from pipeline_operator.cluster import Cluster
from pipeline_operator.parsing import parse_job, parse_pod, run_uid_of


async def read_run(cluster: Cluster, namespace: str, name: str) -> Json | None:
    """The PipelineRun of that name; None where it or its namespace is gone."""
    try:
        return await cluster.get_run(namespace, name)
    except KubeError as error:
        if not await cluster.went_with_namespace(namespace, error):
            raise
        return None


async def read_schedule(cluster: Cluster, namespace: str, name: str) -> Json | None:
    """The PipelineSchedule of that name; None where it or its namespace is gone."""
    try:
        return await cluster.get_schedule(namespace, name)
    except KubeError as error:
        if not await cluster.went_with_namespace(namespace, error):
            raise
        return None


async def read_bodies(cluster: Cluster, namespace: str, run_id: str, uid: str) -> tuple[Json | None, list[Json], int]:
    """The run's Job and pods as they are, and the version of the list of pods."""
    # The pods first: one that is listed after its Job was looked for in vain would seem to have been left by it.
    pods, version = await cluster.list_pods(namespace, run_id)
    job = await cluster.get_job(namespace, identifiers.object_name(run_id))
    return _own(job, uid), [pod for pod in pods if run_uid_of(pod) == uid], version


async def read_job_and_pods(cluster: Cluster, namespace: str, run_id: str, uid: str) -> tuple[Job | None, list[Pod]]:
    """The same, parsed."""
    job, pods, _ = await read_bodies(cluster, namespace, run_id, uid)
    return parse_job(job) if job else None, [parse_pod(pod) for pod in pods]


def _own(job: Mapping[str, Any] | None, uid: str) -> Json | None:
    return dict(job) if job is not None and run_uid_of(job) == uid else None
