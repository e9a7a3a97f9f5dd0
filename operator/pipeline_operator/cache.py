"""What the watches have shown: runs, Jobs and pods, parsed, by the run's UID.

Memory for waking and for cheap decisions; whatever is unsafe on stale facts is read from the API server first.
"""

from collections.abc import Callable, Iterator, Sequence

from pipeline_core.lifecycle.observed import Progress, Published, Run
from pipeline_operator.entry import Entry, Vanished, is_news_of_job, is_news_of_pod
from pipeline_operator.parsing import Body, parse_job, parse_pod, parse_run, run_uid_of
from pipeline_operator.schedules.parsing import parse_made_for


class Cache:
    """Entries by UID. An older view of an object never replaces a newer one, whichever way it came.

    `schedule_news` is called with the namespace and name of a schedule when a run that names it comes, goes or ends.
    """

    def __init__(self, schedule_news: Callable[[str, str], None] = lambda _namespace, _name: None) -> None:
        self._schedule_news = schedule_news
        self._by_schedule: dict[tuple[str, str], dict[str, None]] = {}
        self._entries: dict[str, Entry] = {}
        self._by_pod: dict[str, str] = {}
        # Runs that have got no slot yet, by their organization.
        self._unadmitted: dict[str, set[str]] = {}

    def get(self, uid: str) -> Entry:
        """The entry; an empty one where nothing is known."""
        return self._entries.get(uid) or Entry()

    def runs(self) -> Iterator[Run]:
        """Every run that has an object."""
        return (entry.run for entry in list(self._entries.values()) if entry.run is not None)

    def entries(self) -> Iterator[Entry]:
        """Everything that is known."""
        return iter(list(self._entries.values()))

    def of_schedule(self, namespace: str, name: str) -> Iterator[Entry]:
        """The entries of the runs that name this schedule."""
        return (self._entries[uid] for uid in list(self._by_schedule.get((namespace, name), ())))

    def unadmitted(self, org: str) -> int:
        """How many runs of the organization are to begin yet, as far as their objects tell."""
        return len(self._unadmitted.get(org, ()))

    def put_run(self, body: Body) -> bool:
        """A PipelineRun as seen, or as answered by a read or a write; whether that was news."""
        metadata = body["metadata"]
        known = self.get(metadata["uid"]).run
        if known is not None and int(metadata["resourceVersion"]) <= int(known.resource_version):
            return False  # before it is parsed: the sweep shows a whole history again and again
        run = parse_run(body)
        entry = self._entry(run.uid)
        entry.run, entry.status, entry.vanished = run, body.get("status") or {}, None
        self._count(run, waits=not (run.is_over or run.was_admitted))
        if run.spec.schedule:
            entry.made_for = entry.made_for or parse_made_for(body, run)
            self._by_schedule.setdefault((run.namespace, run.spec.schedule), {})[run.uid] = None
            if known is None or (known.is_over, known.spec.cancel) != (run.is_over, run.spec.cancel):
                self._schedule_news(run.namespace, run.spec.schedule)
        return True

    def drop_run(self, uid: str) -> None:
        """The object is gone; the entry of a run that isn't finished, or holds a slot, stays until that is settled."""
        entry = self._entries.get(uid)
        if entry is None or entry.run is None:
            return
        run = entry.run
        entry.run, entry.status = None, {}
        self._count(run, waits=False)
        if run.is_over and not entry.holds_slot:
            self.forget(uid)
        else:
            entry.vanished = Vanished(uid, run.run_id, run.namespace, run.name)
        if run.spec.schedule:
            self._leave_schedule(run, run.spec.schedule)

    def _count(self, run: Run, *, waits: bool) -> None:
        uids = self._unadmitted.get(run.spec.org, set())
        if waits:
            self._unadmitted.setdefault(run.spec.org, uids).add(run.uid)
        else:
            uids.discard(run.uid)
            if not uids:
                self._unadmitted.pop(run.spec.org, None)

    def _leave_schedule(self, run: Run, schedule: str) -> None:
        key = (run.namespace, schedule)
        uids = self._by_schedule[key]
        del uids[run.uid]
        if not uids:
            del self._by_schedule[key]
        self._schedule_news(*key)

    def put_vanished(self, vanished: Vanished) -> None:
        """A record that isn't final and has no object, found by the sweep."""
        entry = self._entry(vanished.uid)
        if entry.run is None:
            entry.vanished = vanished

    def hold_slot(self, uid: str) -> None:
        """The run holds a slot of its organization; `Entry.holds_slot` is taken back where it is freed."""
        self._entry(uid).holds_slot = True

    def doubt(self, uid: str) -> None:
        """Have the run read from the API server before anything else is decided: events may have been lost."""
        self._entry(uid).doubted = True

    def put_job(self, body: Body, *, gone: bool = False) -> str | None:
        """A Job as seen; returns the UID of its run, None if it isn't a run's or says nothing new."""
        uid = run_uid_of(body)
        if uid is None:
            return None
        if gone:
            entry = self._entries.get(uid)
            if entry is None or entry.job is None or entry.job.uid != body["metadata"]["uid"]:
                return None
            entry.job = None
            return uid
        entry, job = self._entry(uid), parse_job(body)
        known = entry.job
        if known is not None and known.uid == job.uid and job.version < known.version:
            return None
        entry.job = job
        return uid if is_news_of_job(known, job) else None

    def put_pod(self, body: Body, *, gone: bool = False) -> str | None:
        """A pod as seen; returns the UID of its run, None if it isn't a run's or says nothing new."""
        uid = run_uid_of(body)
        if uid is None:
            return None
        pod = parse_pod(body)
        if gone and uid not in self._entries:
            return None
        if gone and pod.phase != "Succeeded":
            entry = self._entry(uid)
            entry.pods.pop(pod.uid, None)
            entry.note_gone(pod)
            self._by_pod.pop(pod.uid, None)
            return uid
        # A pod that is gone after it had succeeded is kept: what it did counts, though nothing else may show it.
        entry = self._entry(uid)
        known = entry.pods.get(pod.uid)
        if known is not None and pod.version < known.version:
            return None
        entry.pods[pod.uid] = pod
        self._by_pod[pod.uid] = uid
        return uid if is_news_of_pod(known, pod) else None

    def put_progress(self, run_id: str, progress: Progress) -> str | None:
        """A progress message; returns the run's UID if the message is from a pod of the run and not late."""
        entry = self._entries.get(self._by_pod.get(progress.pod_uid, ""))
        if entry is None or entry.run is None or entry.run.run_id != run_id:
            return None
        before = entry.progress
        if before is not None and before.pod_uid == progress.pod_uid and before.percent > progress.percent:
            return None
        entry.progress = progress
        return entry.run.uid

    def progress_of(self, pod_uid: str) -> Progress | None:
        """What this pod has reported last."""
        entry = self._entries.get(self._by_pod.get(pod_uid, ""))
        progress = entry.progress if entry else None
        return progress if progress is not None and progress.pod_uid == pod_uid else None

    def put_published(self, run_id: str, published: Published) -> str | None:
        """A runner's word that it has published; returns the run's UID if it is from a pod of the run.

        Also where the object is gone: the rows are there, whatever becomes of the run.
        """
        uid = self._by_pod.get(published.pod_uid, "")
        entry = self._entries.get(uid)
        if entry is None or entry.run_id != run_id:
            return None
        entry.published = published
        return uid

    def replace(self, uid: str, *, job: Body | None, pods: Sequence[Body], version: int) -> None:
        """What was just read of a run's Job and pods; `version` is the list's, and newer events stay."""
        entry = self._entry(uid)
        read = {body["metadata"]["uid"] for body in pods}
        for pod in list(entry.pods.values()):
            if pod.uid not in read and pod.version <= version and pod.phase != "Succeeded":
                del entry.pods[pod.uid]
                entry.note_gone(pod)
        for body in pods:
            self.put_pod(body)
        if job is None:
            entry.job = None
        else:
            self.put_job(job)
        entry.doubted = False

    def forget(self, uid: str) -> None:
        """The run is settled and its object gone."""
        if entry := self._entries.pop(uid, None):
            self._forget_pods(entry)

    def shrink(self, uid: str) -> None:
        """Keep of a finished run whose Job has finished too only what its expiry needs."""
        entry = self._entries.get(uid)
        if entry is None or entry.run is None or not entry.run.is_over or entry.holds_slot:
            return
        if entry.job is None or entry.job.complete or entry.job.failed:
            was_there = bool(entry.status)
            self._forget_pods(entry)
            entry.pods, entry.status = {}, {}
            entry.progress = entry.published = entry.words = None
            if was_there and entry.run.spec.schedule:
                self._schedule_news(entry.run.namespace, entry.run.spec.schedule)  # it holds no slot any more

    def _forget_pods(self, entry: Entry) -> None:
        for uid in entry.pods:
            self._by_pod.pop(uid, None)

    def _entry(self, uid: str) -> Entry:
        return self._entries.setdefault(uid, Entry())
