"""Which objects count as managed from outside, and what is said of it."""

import pytest

from pipeline_core.kube.gitops import managed_by

TRACKING = "argocd.argoproj.io/tracking-id"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io/"
HELM_RELEASE = "helm.toolkit.fluxcd.io/"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"

MANAGED = [
    # labels, annotations, tool, source, evidence
    (
        {},
        {TRACKING: "acme-etl:pipelines.dev/PipelineSchedule:acme/nightly"},
        "Argo CD",
        "application acme-etl",
        f"annotation {TRACKING}",
    ),
    ({INSTANCE: "acme-etl"}, {TRACKING: ""}, "Argo CD", "instance acme-etl", f"annotation {TRACKING}"),
    (
        {"argocd.argoproj.io/instance": "acme-etl"},
        {},
        "Argo CD",
        "application acme-etl",
        "label argocd.argoproj.io/instance",
    ),
    ({}, {"argocd.argoproj.io/sync-wave": "2"}, "Argo CD", None, "annotation argocd.argoproj.io/sync-wave"),
    ({MANAGED_BY: "argocd"}, {}, "Argo CD", None, f"label {MANAGED_BY}: argocd"),
    ({MANAGED_BY: "ArgoCD", INSTANCE: "x"}, {}, "Argo CD", "instance x", f"label {MANAGED_BY}: ArgoCD"),
    (
        {f"{KUSTOMIZE}name": "tenants", f"{KUSTOMIZE}namespace": "flux-system"},
        {},
        "Flux",
        "Kustomization tenants",
        f"label {KUSTOMIZE}name",
    ),
    ({}, {f"{KUSTOMIZE}prune": "disabled"}, "Flux", None, f"annotation {KUSTOMIZE}prune"),
    ({MANAGED_BY: "flux"}, {}, "Flux", None, f"label {MANAGED_BY}: flux"),
    # What Flux installs of a chart carries Helm's marks as well; it is Flux' to change.
    (
        {f"{HELM_RELEASE}name": "etl", f"{HELM_RELEASE}namespace": "acme", MANAGED_BY: "Helm", INSTANCE: "etl"},
        {"meta.helm.sh/release-name": "etl"},
        "Flux",
        "HelmRelease etl",
        f"label {HELM_RELEASE}name",
    ),
    # So does what Argo CD renders of one.
    (
        {MANAGED_BY: "Helm", INSTANCE: "etl"},
        {TRACKING: "etl:pipelines.dev/PipelineSchedule:acme/nightly"},
        "Argo CD",
        "application etl",
        f"annotation {TRACKING}",
    ),
    (
        {MANAGED_BY: "Helm"},
        {"meta.helm.sh/release-name": "etl", "meta.helm.sh/release-namespace": "acme"},
        "Helm",
        "release etl",
        "annotation meta.helm.sh/release-name",
    ),
    ({MANAGED_BY: "Helm", INSTANCE: "etl"}, {}, "Helm", "instance etl", f"label {MANAGED_BY}: Helm"),
    ({INSTANCE: "etl"}, {}, "Argo CD or Helm", "instance etl", f"label {INSTANCE}"),
    # Taken into Git after it was made by request.
    (
        {MANAGED_BY: "pipelines-bridge", f"{KUSTOMIZE}name": "tenants"},
        {},
        "Flux",
        "Kustomization tenants",
        f"label {KUSTOMIZE}name",
    ),
]

UNMANAGED = [
    ({}, {}),
    ({MANAGED_BY: "pipelines-bridge", "pipelines.dev/org": "acme_corp"}, {"pipelines.dev/request-id": "r-1"}),
    ({MANAGED_BY: "somebody"}, {}),
    ({}, {"kubectl.kubernetes.io/last-applied-configuration": '{"argocd.argoproj.io/instance": "x"}'}),
    # A label's key, not an annotation's.
    ({}, {INSTANCE: "etl"}),
    ({"example.com/argocd.argoproj.io": "x", "argocd.argoproj.io.example.com/instance": "x"}, {}),
]


@pytest.mark.parametrize(("labels", "annotations", "tool", "source", "evidence"), MANAGED)
def test_the_marks_of_a_tool_tell_who_manages_an_object(
    labels: dict[str, str], annotations: dict[str, str], tool: str, source: str | None, evidence: str
) -> None:
    manager = managed_by({"name": "nightly", "labels": labels, "annotations": annotations})
    assert manager is not None
    assert (manager.tool, manager.source, manager.evidence) == (tool, source, evidence)


@pytest.mark.parametrize(("labels", "annotations"), UNMANAGED)
def test_an_object_without_such_marks_is_nobodys(labels: dict[str, str], annotations: dict[str, str]) -> None:
    assert managed_by({"name": "nightly", "labels": labels, "annotations": annotations}) is None


def test_metadata_without_labels_or_annotations_is_nobodys() -> None:
    assert managed_by({"name": "nightly"}) is None
    assert managed_by({"name": "nightly", "labels": None, "annotations": None}) is None


def test_it_is_said_in_one_phrase() -> None:
    with_source = managed_by({"annotations": {TRACKING: "acme-etl:a/B:c/d"}})
    assert str(with_source) == f"Argo CD, application acme-etl (annotation {TRACKING})"
    without = managed_by({"labels": {MANAGED_BY: "flux"}})
    assert str(without) == f"Flux (label {MANAGED_BY}: flux)"
