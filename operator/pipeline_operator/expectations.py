"""Notices a blind watch: one that doesn't show what the API server's answers have told of.

Answers to our own calls name versions of objects. The watch of that kind must show such a version, or a newer one of
any object, soon; until it does there is an expectation. That costs no request, and a watch that is silent because
nothing happens raises none, so silence isn't taken for blindness.

Only time in which the API server answers counts: while it is away no watch can show anything.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pipeline_core.kube import names
from pipeline_core.kube.api import Json

WATCHED = (names.RUNS, names.SCHEDULES, "jobs", "pods")
# Their watches show every object; the others select by the label of a run.
_ALL_SHOWN = frozenset({names.RUNS, names.SCHEDULES})

# A pause between two answers counts up to this; the renewal of the Lease is one every two seconds.
_PAUSE_MAX = 5.0
# Of what is told within a second one is enough, and so many seconds are remembered.
_APART_SECONDS = 1.0
_OPEN_MAX = 128


@dataclass(frozen=True, slots=True)
class Expectation:
    """An object at a version that its watch must show; `since` is in seconds of answered time."""

    plural: str
    namespace: str
    name: str
    uid: str
    run_id: str
    version: int
    since: float


class Expectations:
    """`namespaces` are those with a watch of their own (none: one watch sees all); `patience` is in seconds.

    `now` is a monotonic clock in seconds.
    """

    def __init__(self, namespaces: Sequence[str], patience: float, now: Callable[[], float]) -> None:
        self._by_namespace = bool(namespaces)
        self._patience = patience
        self._now = now
        self._answered_at = now()
        self._elapsed = 0.0
        self._shown: dict[tuple[str, str], int] = {}
        self._open: dict[tuple[str, str], deque[Expectation]] = {}

    def answered(self) -> None:
        """The API server has answered a call, whatever it said."""
        at = self._now()
        self._elapsed += min(at - self._answered_at, _PAUSE_MAX)
        self._answered_at = at

    def told(self, plural: str, body: Json) -> None:
        """An answer has shown `body`, an object of the kind `plural`."""
        metadata = body["metadata"]
        run_id = (metadata.get("labels") or {}).get(names.LABEL_RUN_ID, "")
        if plural not in _ALL_SHOWN and not run_id:
            return
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        stream = self._stream(plural, namespace)
        self._drop(stream, lambda each: (each.namespace, each.name) == (namespace, name) and each.uid != uid)
        version = int(metadata["resourceVersion"])
        if version <= self._shown.get(stream, 0):
            return
        waiting = self._open.setdefault(stream, deque())
        if waiting and (len(waiting) >= _OPEN_MAX or self._elapsed - waiting[-1].since < _APART_SECONDS):
            return
        waiting.append(Expectation(plural, namespace, name, uid, run_id, version, self._elapsed))

    def told_absent(self, plural: str, namespace: str, name: str) -> None:
        """An answer has said that there is no such object: its watch may have had no time to show it."""
        self._drop(self._stream(plural, namespace), lambda each: (each.namespace, each.name) == (namespace, name))

    def told_namespace_gone(self, namespace: str) -> None:
        """An answer has said that there is no such namespace, and so nothing in it that a watch could show."""
        for stream in list(self._open):
            self._drop(stream, lambda each: each.namespace == namespace)

    def told_all(self, plural: str, namespace: str, run_id: str, uids: Collection[str]) -> None:
        """An answer has listed all objects made for a run."""
        self._drop(self._stream(plural, namespace), lambda each: each.run_id == run_id and each.uid not in uids)

    def seen(self, plural: str, body: Json, *, gone: bool) -> None:
        """The watch has shown `body`, as it is or as it was when it went."""
        metadata = body["metadata"]
        stream = self._stream(plural, metadata["namespace"])
        shown = self._shown[stream] = max(self._shown.get(stream, 0), int(metadata["resourceVersion"]))
        self._drop(stream, lambda each: each.version <= shown or (gone and each.uid == metadata["uid"]))

    def late(self) -> list[Expectation]:
        """The oldest of each watch that has waited so long that its object had better be looked at."""
        return [each for each in self._oldest() if self._age(each) >= self._patience / 2]

    def behind(self, plural: str) -> float:
        """How long, in seconds, the watch of `plural` has owed something; 0 if it owes nothing."""
        return max((self._age(each) for each in self._oldest() if each.plural == plural), default=0.0)

    def blind(self) -> str | None:
        """Which watch has owed something for too long, and since when; None if none has."""
        for each in self._oldest():
            if (age := self._age(each)) >= self._patience:
                return (
                    f"the watch of {each.plural} is blind: for {age:.0f}s it has not shown version {each.version} of "
                    f"{each.namespace}/{each.name}, nor anything newer"
                )
        return None

    def _oldest(self) -> Iterator[Expectation]:
        return (waiting[0] for waiting in self._open.values() if waiting)

    def _age(self, expectation: Expectation) -> float:
        return self._elapsed - expectation.since

    def _stream(self, plural: str, namespace: str) -> tuple[str, str]:
        return plural, namespace if self._by_namespace else ""

    def _drop(self, stream: tuple[str, str], met: Callable[[Expectation], bool]) -> None:
        if waiting := self._open.get(stream):
            self._open[stream] = deque(each for each in waiting if not met(each))
