"""Says which tool keeps an object as it stands in Git, by the marks that the tool leaves on it.

A change behind the back of such a tool is undone at its next sync, or turns what is in Git into a lie.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline_core.kube import names

ARGO_CD = "Argo CD"
FLUX = "Flux"
HELM = "Helm"

_INSTANCE = "app.kubernetes.io/instance"
# Whatever follows: a user writes sync options or hooks into the same group, and only into what Argo CD or Flux applies.
# https://argo-cd.readthedocs.io/en/stable/user-guide/annotations-and-labels/
# https://fluxcd.io/flux/components/kustomize/kustomizations/, https://fluxcd.io/flux/components/helm/helmreleases/
# Argo CD and Flux come before Helm, since what they apply is often a chart, and says so.
_GROUPS = (
    ("argocd.argoproj.io/", ARGO_CD),
    ("kustomize.toolkit.fluxcd.io/", FLUX),
    ("helm.toolkit.fluxcd.io/", FLUX),
    ("meta.helm.sh/", HELM),
)
_MANAGED_BY = {"argocd": ARGO_CD, "argo-cd": ARGO_CD, "flux": FLUX, "fluxcd": FLUX, "helm": HELM}
# Where a tool says which of its objects this one belongs to, and what that is called.
_SOURCES = {
    ARGO_CD: (("argocd.argoproj.io/tracking-id", "application"), ("argocd.argoproj.io/instance", "application")),
    FLUX: (
        ("kustomize.toolkit.fluxcd.io/name", "Kustomization"),
        ("helm.toolkit.fluxcd.io/name", "HelmRelease"),
    ),
    HELM: (("meta.helm.sh/release-name", "release"),),
}


@dataclass(frozen=True, slots=True)
class Manager:
    """Who manages an object: the tool, what of the tool's it belongs to (if that is known), and what shows it."""

    tool: str
    source: str | None
    evidence: str

    def __str__(self) -> str:
        source = f", {self.source}" if self.source else ""
        return f"{self.tool}{source} ({self.evidence})"


def managed_by(metadata: Mapping[str, object]) -> Manager | None:
    """Who manages the object of this metadata from outside; None where nobody does."""
    marks = list(_marks(metadata))
    for prefix, tool in _GROUPS:
        for kind, key, _ in marks:
            if key.startswith(prefix):
                return Manager(tool, _source(tool, marks), f"{kind} {key}")
    for kind, key, value in marks:
        if key == names.LABEL_MANAGED_BY and (tool := _MANAGED_BY.get(value.lower(), "")):
            return Manager(tool, _instance(marks), f"{kind} {key}: {value}")
    # Argo CD's tracking label, unless it is told to use another; Helm's charts carry it as well.
    for kind, key, value in marks:
        if key == _INSTANCE and kind == "label":
            return Manager(f"{ARGO_CD} or {HELM}", f"instance {value}", f"{kind} {key}")
    return None


def _marks(metadata: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    """Labels and annotations, as (kind, key, value)."""
    for field, kind in (("labels", "label"), ("annotations", "annotation")):
        found = metadata.get(field)
        if isinstance(found, Mapping):
            yield from ((kind, str(key), str(value)) for key, value in found.items())


def _source(tool: str, marks: list[tuple[str, str, str]]) -> str | None:
    values = {key: value for _, key, value in marks}
    for key, kind in _SOURCES[tool]:
        if value := values.get(key):
            # A tracking id is `<application>:<group>/<kind>:<namespace>/<name>`.
            return f"{kind} {value.partition(':')[0]}"
    return _instance(marks)


def _instance(marks: list[tuple[str, str, str]]) -> str | None:
    return next((f"instance {value}" for _, key, value in marks if key == _INSTANCE and value), None)
