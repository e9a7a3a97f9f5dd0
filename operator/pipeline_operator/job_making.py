"""Creates the Job of a run that has its slot; where the API server refuses it, the run waits, or ends as failed."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from pipeline_core import identifiers
from pipeline_core.errors import ConfigInvalidError
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.lifecycle.actions import Finish, seconds
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.run_document import RunDocument
from pipeline_core.store.records import RunRecords
from pipeline_operator import metrics, status
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.ending import Ending
from pipeline_operator.events import Events
from pipeline_operator.manifests import Manifest, build_job
from pipeline_operator.progress import progress_token
from pipeline_operator.settings import RunnerTemplate
from pipeline_operator.writer import StatusWriter

_log = structlog.get_logger(__name__)

# The API server's answers to a Job that it won't ever take as it is.
_NEVER = frozenset({400, 413, 422})
# etcd takes 1.5 MiB by default, and an object that is larger is refused with odd words.
_LARGE_BYTES = 2**20


class JobMaking:
    """`template` is read anew for each run, so that a changed one needs no restart.

    `keyset_secret` names the Secret with each organization's keyset. `progress` is the address that runners report to
    and the key of their tokens; `deadline` is how long the API server may refuse a run's Job (a quota, a webhook, a
    missing right) before the run is given up. `now` is the wall clock in UTC.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        records: RunRecords,
        ending: Ending,
        writer: StatusWriter,
        events: Events,
        template: Callable[[], RunnerTemplate],
        keyset_secret: str,
        progress: tuple[str, str] | None,
        now: Callable[[], datetime],
        deadline: timedelta,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._records = records
        self._ending = ending
        self._writer = writer
        self._events = events
        self._template = template
        self._keyset_secret = keyset_secret
        self._progress = progress
        self._now = now
        self._deadline = deadline
        self._allowed = f"{seconds(deadline)}s"

    async def create(self, run: Run, document: RunDocument) -> None:
        """Create the run's Job, or find the one that was created before.

        Raises KubeError, KubeUnavailableError or ConfigInvalidError where that has to be tried again: the object then
        says what it waits for.
        """
        progress = self._progress
        granted = (progress[0], progress_token(progress[1], run.run_id)) if progress else None
        try:
            manifest = build_job(run, document, self._template(), keyset_secret=self._keyset_secret, progress=granted)
            job = await self._cluster.create_job(run.namespace, manifest)
        except KubeError as error:
            if error.reason == "AlreadyExists":
                await self._adopt(run)
                return
            if error.status in _NEVER:
                await self._give_up(run, f"The API server refused the run's Job{_size(manifest)}: {error.message}")
                return
            await self._wait_for_job(run, error, f"The API server refused the run's Job for {self._allowed}")
            return
        except ConfigInvalidError as error:
            await self._wait_for_job(run, error, f"The run's Job could not be made for {self._allowed}")
            return
        except KubeUnavailableError as error:
            await self._tell_wait(run, error)
            raise
        # crash here: the next pass is answered AlreadyExists and finds its own Job.
        self._cache.put_job(job)
        made_for = self._cache.get(run.uid).made_for
        if made_for is not None and made_for.due_at is not None:
            metrics.skew_seen("job", made_for.due_at, self._now())
        _log.info("job created", run_id=run.run_id, org=run.spec.org, job=manifest["metadata"]["name"])
        self._events.tell(run, "Started", f"Created Job {manifest['metadata']['name']}")

    async def still_wanted(self, run: Run) -> bool:
        """Whether the object is still there and hasn't been cancelled; the watch may not have said so yet."""
        body = await self._cluster.get_run(run.namespace, run.name)
        if body is None or body["metadata"]["uid"] != run.uid:
            self._cache.drop_run(run.uid)
            return False
        self._cache.put_run(body)
        now = self._cache.get(run.uid).run
        return now is not None and not now.spec.cancel and not now.deleting

    async def _give_up(self, run: Run, message: str) -> None:
        """End the run whose Job isn't taken; unless it is there, made by a call whose answer was lost.

        A quota is asked before the name is, so the run's own Job can be what fills it.
        """
        job = await self._cluster.get_job(run.namespace, identifiers.object_name(run.run_id))
        if job is not None and _owned(job, run):
            self._cache.put_job(job)
            return
        await self._refuse(run, message)

    async def _refuse(self, run: Run, message: str) -> None:
        if await self.still_wanted(run):  # or it ends as cancelled: `--cascade=orphan` takes the owner off its own Job
            await self._ending.finish(run, Finish(Phase.FAILED, Reason.JOB_REFUSED, message))

    def _overdue(self, run: Run) -> bool:
        """Whether the Job has been refused for too long: since the object says that the run was admitted."""
        admitted_at = run.status.admitted_at
        return admitted_at is not None and self._now() >= admitted_at + self._deadline

    async def _wait_for_job(self, run: Run, error: Exception, refused: str) -> None:
        """Wait, or give the run up with these words where that has been going on for too long. Raises `error`."""
        if self._overdue(run):
            await self._give_up(run, f"{refused}: {error}")
            return
        await self._tell_wait(run, error)
        raise error

    async def _tell_wait(self, run: Run, error: Exception) -> None:
        """Say on the object what it waits for: a quota, a webhook, a missing right, a broken template."""
        message = f"The run's Job can't be created: {error}"
        await self._records.advance(
            run.run_id, phase=Phase.VALIDATING, at=self._now(), message=message, object_uid=run.uid
        )
        await self._writer.write_wait(run, Phase.VALIDATING, Reason.STARTING, message, status.admitted(run))

    async def _adopt(self, run: Run) -> None:
        """The Job's name is taken: by this run's own Job (a lost answer), or by something else."""
        name = identifiers.object_name(run.run_id)
        job = await self._cluster.get_job(run.namespace, name)
        if job is None:
            return  # deleted in between: the next pass creates it
        if not _owned(job, run):
            message = f"A Job named {name} that isn't this run's stands in its place; delete it and apply the run anew"
            await self._refuse(run, message)
            return
        self._cache.put_job(job)


def _size(manifest: Manifest) -> str:
    """Said of a Job whose size may be what it is refused for."""
    size = len(json.dumps(manifest))
    return f" of {size} bytes" if size > _LARGE_BYTES else ""


def _owned(job: Json, run: Run) -> bool:
    owners = job["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == run.uid and owner.get("controller") for owner in owners)
