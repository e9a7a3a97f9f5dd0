"""What is known of one run, and whether a newer view of its Job or of a pod is news."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pipeline_core.lifecycle.observed import Job, Pod, Progress, Published, Run
from pipeline_operator.schedules.parsing import MadeFor

_USUAL_WAITS = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Vanished:
    """A run whose object is gone before its record was final, or before its slot was free."""

    uid: str
    run_id: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Words:
    """The newest warning about the object of this UID (None: there is none), and when it was looked up."""

    uid: str
    text: str | None
    at: datetime


@dataclass(slots=True)
class Entry:
    """All that is known of one run. `status` is the object's, raw, to compare a patch with.

    `doubted` asks for a read from the API server before the next decision.
    """

    run: Run | None = None
    # What of a schedule the run was made for, where it names one.
    made_for: MadeFor | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    vanished: Vanished | None = None
    job: Job | None = None
    pods: dict[str, Pod] = field(default_factory=dict)
    progress: Progress | None = None
    published: Published | None = None
    words: Words | None = None
    # How the pods that are gone went: having said that they failed, or without such a word.
    pods_failed: bool = False
    pods_lost: bool = False
    doubted: bool = False
    # Whether the run has been waited for, of which so far only a Job was seen.
    awaited: bool = False
    # Whether the run is known to hold a slot of its organization.
    holds_slot: bool = False
    # Whether this process has seen to the run: what its status says is so, or on its way to it.
    seen_to: bool = False

    def note_gone(self, pod: Pod) -> None:
        """Remember how a pod went that hadn't succeeded."""
        if pod.says_it_failed:
            self.pods_failed = True
        else:
            self.pods_lost = True

    @property
    def run_id(self) -> str | None:
        """The run's id, of an object or of one that is gone."""
        known = self.run or self.vanished
        return known.run_id if known else None


def is_news_of_job(known: Job | None, seen: Job) -> bool:
    """Whether `seen` says more than another version: much of what Kubernetes writes means nothing to a run."""
    if known is None:
        return True
    first = max(known.attempts, seen.attempts) <= 1  # that its first pod is being made is told by the pod
    return replace(known, version=seen.version, attempts=seen.attempts if first else known.attempts) != seen


def is_news_of_pod(known: Pod | None, seen: Pod) -> bool:
    """The same of a pod. That it has got a node, and that its container is being made, are steps on the usual way."""
    if known is None:
        return True
    on_its_way = known.waiting is None and seen.waiting is not None and seen.waiting[0] in _USUAL_WAITS
    same = replace(known, version=seen.version, node=seen.node, scheduled_at=seen.scheduled_at)
    return (replace(same, waiting=seen.waiting) if on_its_way else same) != seen
