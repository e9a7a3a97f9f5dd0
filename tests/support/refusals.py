"""Rules of a cluster that refuse what is made for runs: quotas, admission policies, webhooks."""

from collections.abc import Iterator
from contextlib import contextmanager

from support.installation import Installation, Manifest
from support.obstacles import standing

LABELLED = {"matchExpressions": [{"key": "pipelines.dev/run-id", "operator": "Exists"}]}
NOT_TODAY = "no such thing on a Sunday"


def quota(what: str) -> Manifest:
    """Allows none of it."""
    hard = {"spec": {"hard": {what: "0"}}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "e2e-none"}, **hard}


def policy(group: str, kind: str, **validation: str) -> tuple[Manifest, Manifest]:
    """A ValidatingAdmissionPolicy that refuses everything made for runs, and its binding."""
    name, version = {"name": "e2e-never"}, "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [kind]}
    spec = {
        "matchConstraints": {"resourceRules": [rule], "objectSelector": LABELLED},
        "validations": [{"expression": "false", "message": NOT_TODAY, **validation}],
    }
    binding = {"policyName": "e2e-never", "validationActions": ["Deny"]}
    return (
        {"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": name, "spec": spec},
        {"apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": name, "spec": binding},
    )


def webhook() -> Manifest:
    """Asks a server that isn't there about the Jobs of runs, and refuses what it can't ask about."""
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    hook = {
        "name": "away.pipelines.dev",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "rules": [rule],
        "objectSelector": LABELLED,
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "e2e-away"},
        "webhooks": [hook],
    }


@contextmanager
def refusing(installation: Installation, kind: str, *documents: Manifest) -> Iterator[None]:
    """Have the API server refuse the Jobs or the pods of runs, by these objects."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "probe", "image": "none"}]}
    probe = {
        "apiVersion": "batch/v1" if kind == "Job" else "v1",
        "kind": kind,
        "metadata": {"name": "e2e-probe", "labels": {"pipelines.dev/run-id": "probe"}},
        "spec": {"template": {"spec": pod}} if kind == "Job" else pod,
    }

    def refused() -> bool:
        tried = installation.kubectl.attempt("create", "--dry-run=server", "--filename=-", manifest=probe)
        # a new quota refuses everything until it is known what there is
        return tried.returncode != 0 and "status unknown" not in tried.stderr

    with standing(installation, *documents):
        installation.eventually(refused)
        yield
