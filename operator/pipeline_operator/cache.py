"""What the watches have shown: runs, Jobs and pods, parsed, by the run's UID.

Memory for waking and for cheap decisions; whatever is unsafe on stale facts is read from the API server first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_core.lifecycle.observed import Job, Pod, Progress, Run
from pipeline_operator.parsing import Body, parse_job, parse_pod, parse_run, run_uid_of


@dataclass(frozen=True, slots=True)
class Vanished:
    """A run whose object is gone before its record was final."""

    uid: str
    run_id: str
    namespace: str
    name: str


@dataclass(slots=True)
class Entry:
    """All that is known of one run. `status` is the object's, raw, to compare a patch with."""

    run: Run | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    vanished: Vanished | None = None
    job: Job | None = None
    pods: dict[str, Pod] = field(default_factory=dict)
    progress: Progress | None = None


class Cache:
    """Entries by UID. An older version of an object never replaces a newer one."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._by_run_id: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, uid: str) -> Entry:
        """The entry; an empty one where nothing is known."""
        return self._entries.get(uid) or Entry()

    def runs(self) -> Iterator[Run]:
        """Every run that has an object."""
        return (entry.run for entry in list(self._entries.values()) if entry.run is not None)

    def put_run(self, body: Body) -> str:
        """A PipelineRun as seen or as answered by a write; returns its UID."""
        run = parse_run(body)
        entry = self._entry(run.uid)
        if entry.run is None or int(run.resource_version) >= int(entry.run.resource_version):
            entry.run, entry.status, entry.vanished = run, body.get("status") or {}, None
        self._by_run_id.setdefault(run.run_id, run.uid)
        return run.uid

    def drop_run(self, uid: str) -> None:
        """The object is gone; the entry of an unfinished run stays until its record is settled (`forget`)."""
        entry = self._entries.get(uid)
        if entry is None or entry.run is None:
            return
        run = entry.run
        if run.status.phase is not None and run.status.phase.is_final:
            self.forget(uid)
            return
        entry.run, entry.status = None, {}
        entry.vanished = Vanished(uid, run.run_id, run.namespace, run.name)

    def put_vanished(self, vanished: Vanished) -> None:
        """A record that isn't final and has no object, found by the sweep."""
        entry = self._entry(vanished.uid)
        if entry.run is None:
            entry.vanished = vanished

    def put_job(self, body: Body, *, gone: bool = False) -> str | None:
        """A Job as seen; returns the UID of its run, None if it isn't a run's."""
        uid = run_uid_of(body)
        if uid is None:
            return None
        if not gone:
            self._entry(uid).job = parse_job(body)
        elif (entry := self._entries.get(uid)) is not None and entry.job and entry.job.uid == body["metadata"]["uid"]:
            entry.job = None
        return uid

    def put_pod(self, body: Body, *, gone: bool = False) -> str | None:
        """A pod as seen; returns the UID of its run, None if it isn't a run's."""
        uid = run_uid_of(body)
        if uid is None:
            return None
        if not gone:
            self._entry(uid).pods[body["metadata"]["uid"]] = parse_pod(body)
        elif (entry := self._entries.get(uid)) is not None:
            entry.pods.pop(body["metadata"]["uid"], None)
        return uid

    def put_progress(self, run_id: str, progress: Progress) -> str | None:
        """A progress message; returns the run's UID if the message is from a pod of the run and not late."""
        entry = self._entries.get(self._by_run_id.get(run_id, ""))
        if entry is None or entry.run is None or progress.pod_uid not in entry.pods:
            return None
        before = entry.progress
        if before is not None and before.pod_uid == progress.pod_uid and before.percent > progress.percent:
            return None
        entry.progress = progress
        return entry.run.uid

    def replace(self, uid: str, *, job: Body | None, pods: Sequence[Body]) -> None:
        """What was just read live of a run's Job and pods."""
        entry = self._entry(uid)
        entry.job = parse_job(job) if job else None
        entry.pods = {pod["metadata"]["uid"]: parse_pod(pod) for pod in pods}

    def forget(self, uid: str) -> None:
        """The run is settled and its object gone."""
        entry = self._entries.pop(uid, None)
        known = entry.run or entry.vanished if entry else None
        if known and self._by_run_id.get(known.run_id) == uid:
            del self._by_run_id[known.run_id]

    def shrink(self, uid: str) -> None:
        """Keep of a finished run whose Job has finished too only what its expiry needs."""
        entry = self._entries.get(uid)
        phase = entry.run.status.phase if entry and entry.run else None
        if entry and phase and phase.is_final and (entry.job is None or entry.job.complete or entry.job.failed):
            entry.pods, entry.progress = {}, None

    def _entry(self, uid: str) -> Entry:
        return self._entries.setdefault(uid, Entry())
