"""Asking the local cluster's API server as somebody else."""

from collections.abc import Mapping
from typing import Any

from kubernetes import client, config

from pipeline_local.paths import Paths
from support.local_cluster import refusal

KINDS = {"pipelineruns": "PipelineRun", "pipelineschedules": "PipelineSchedule"}


def client_of(user: str, group: str = "system:masters") -> client.ApiClient:
    """A client that acts as `user`; with the group as it is, one who has every right. Close it."""
    api = config.new_client_from_config(str(Paths.from_environment().kubeconfig))
    api.set_default_header("Impersonate-User", user)
    api.set_default_header("Impersonate-Group", group)
    return api


def refused_for(user: str, spec: Mapping[str, Any], namespace: str, kind: str = "pipelineruns") -> str:
    """Why `user`, who has every right, can't create a run (or `kind`) with `spec`; empty if they can."""
    body = {"apiVersion": "pipelines.dev/v1alpha1", "kind": KINDS[kind], "metadata": {"name": "one"}, "spec": spec}
    where = ("pipelines.dev", "v1alpha1", namespace, kind)
    with client_of(user) as api:
        try:
            client.CustomObjectsApi(api).create_namespaced_custom_object(*where, body, dry_run="All")
        except client.ApiException as error:
            if error.status != 403:
                raise
            return refusal(error)
    return ""
