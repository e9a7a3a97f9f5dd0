"""Builds the Job of a run: pure, and the same Job for the same run."""

from collections.abc import Sequence
from typing import Any

from pipeline_core import identifiers
from pipeline_core.credentials.names import CREDENTIALS_PATH, KEYSET_PATH, keyset_secret_name
from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Run
from pipeline_core.outcome import PERMANENT, TERMINATION_MESSAGE_PATH
from pipeline_core.run_document import RUN_DOCUMENT_ANNOTATION, RUN_DOCUMENT_PATH, RunDocument
from pipeline_operator.settings import RunnerTemplate

Manifest = dict[str, Any]

_VOLUME = "run-document"
# The runner needs up to ten seconds to leave no trace in the target.
_GRACE_SECONDS = 30


def build_job(
    run: Run,
    document: RunDocument,
    template: RunnerTemplate,
    *,
    keyset_secret: str = "",
    progress: tuple[str, str] | None,
) -> Manifest:
    """The batch/v1 Job of `run`; `progress` is the URL and the token that its runner may report to.

    `keyset_secret` names the Secret with the keyset of each organization, `{org}` in it; empty: runs get none.
    """
    name = identifiers.object_name(document.run_id)
    labels = run_labels(document, run.spec.schedule)
    annotations = {names.ANNOTATION_RUN_UID: run.uid, **_of_the_request(run)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": run.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [_owner(run)],
        },
        "spec": {
            "backoffLimit": document.max_retries,
            "activeDeadlineSeconds": document.timeout_seconds,
            "completions": 1,
            "parallelism": 1,
            # A second pod only once the first has failed for good: never two at a time.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": {
                    "labels": {**template.labels, **labels, names.LABEL_COMPONENT: "runner"},
                    "annotations": {
                        **template.annotations,
                        **annotations,
                        RUN_DOCUMENT_ANNOTATION: document.model_dump_json(),
                    },
                },
                "spec": _pod_spec(run, document, template, _secrets(document, keyset_secret), progress),
            },
        },
    }


def run_labels(document: RunDocument, schedule: str | None) -> dict[str, str]:
    """The labels on everything made for a run."""
    labels = {
        names.LABEL_ORG: document.org_slug,
        names.LABEL_PROVIDER: document.provider,
        names.LABEL_RUN_ID: document.run_id,
        names.LABEL_MANAGED_BY: "pipelines",
    }
    return {**labels, names.LABEL_SCHEDULE: schedule} if schedule else labels


def _owner(run: Run) -> Manifest:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.RUN_KIND,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _failure_rules() -> list[Manifest]:
    return [
        # First, or a drained node would use up the run's retries.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": names.RUNNER_CONTAINER,
                "operator": "In",
                "values": sorted(int(code) for code in PERMANENT),
            },
        },
    ]


def _of_the_request(run: Run) -> dict[str, str]:
    """Annotations that tell which request a run comes from."""
    known = {names.ANNOTATION_REQUEST_ID: run.request_id, names.ANNOTATION_TRACEPARENT: run.traceparent}
    return {name: value for name, value in known.items() if value is not None}


def _pod_spec(
    run: Run,
    document: RunDocument,
    template: RunnerTemplate,
    secrets: Sequence[tuple[str, str, str]],
    progress: tuple[str, str] | None,
) -> Manifest:
    env = [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}, *template.env]
    if progress is not None:
        url, token = progress
        env += [{"name": "PIPELINES_PROGRESS_URL", "value": url}, {"name": "PIPELINES_PROGRESS_TOKEN", "value": token}]
    # For the runner's log lines; the second is named as OpenTelemetry's SDKs read it.
    traced = {"PIPELINES_REQUEST_ID": run.request_id, "TRACEPARENT": run.traceparent}
    env += [{"name": name, "value": value} for name, value in traced.items() if value is not None]
    path, _, file = RUN_DOCUMENT_PATH.rpartition("/")
    container = {
        "name": names.RUNNER_CONTAINER,
        "image": template.image,
        "imagePullPolicy": template.imagePullPolicy,
        "env": env,
        "resources": template.resources,
        "terminationMessagePath": TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": _VOLUME, "mountPath": path, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            *({"name": name, "mountPath": mount, "readOnly": True} for name, mount, _ in secrets),
            *template.volumeMounts,
        ],
    }
    annotation = f"metadata.annotations['{RUN_DOCUMENT_ANNOTATION}']"
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "serviceAccountName": template.serviceAccountName,
        # No API token and no environment of services: the pod starts sooner and knows less.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {
                "name": _VOLUME,
                "downwardAPI": {"items": [{"path": file, "fieldRef": {"fieldPath": annotation}}]},
            },
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            *({"name": name, "secret": _mounted(secret)} for name, _, secret in secrets),
            *template.volumes,
        ],
    }
    for field in ("nodeSelector", "tolerations", "imagePullSecrets"):
        if value := getattr(template, field):
            spec[field] = value
    if template.hostNetwork:
        spec["hostNetwork"] = True
    return spec


def _secrets(document: RunDocument, keyset_secret: str) -> list[tuple[str, str, str]]:
    """Volume, where it is mounted, and Secret, of the credentials that the run's organization gave."""
    if document.credential_secret is None:
        return []
    found = [("credentials", CREDENTIALS_PATH, document.credential_secret)]
    if keyset_secret:
        found.append(("keyset", KEYSET_PATH, keyset_secret_name(keyset_secret, document.org_slug)))
    return found


def _mounted(secret: str) -> Manifest:
    # Optional: the run starts without it, and says what is missing. The runner's user isn't the files' owner.
    return {"secretName": secret, "optional": True, "defaultMode": 0o444}
