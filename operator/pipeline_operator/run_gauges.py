"""How many runs are under way and how old they are, counted when the metrics are read."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline_core.lifecycle.phases import Phase
from pipeline_operator.cache import Cache
from pipeline_operator.entry import Entry

_ACTIVE = tuple(phase for phase in Phase if not phase.is_final)
# Kubernetes needs a moment to stop a run whose time is over, and the operator one to say so.
_OVERDUE = timedelta(minutes=2)


class RunGauges(Collector):
    """Of the runs in a cache; there are none until `observe` names one."""

    def __init__(self) -> None:
        self._cache: Cache | None = None
        self._now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def observe(self, cache: Cache, now: Callable[[], datetime]) -> None:
        """Count the runs of `cache` from now on; `now` is the wall clock in UTC."""
        self._cache, self._now = cache, now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The three families, each phase present also where no run is in it."""
        now, overdue = self._now(), 0
        count = dict.fromkeys(_ACTIVE, 0)
        oldest = dict.fromkeys(_ACTIVE, 0.0)
        for entry in self._cache.entries() if self._cache else ():
            run = entry.run
            if (run is None and entry.vanished is None) or (run is not None and run.is_over):
                continue
            overdue += _is_overdue(entry, now)
            if run is None:
                continue  # without an object it has no phase
            phase = run.status.phase or Phase.PENDING
            count[phase] += 1
            if not run.status.waits_for_quota:  # which is as it should be, however long it takes
                oldest[phase] = max(oldest[phase], (now - run.created_at).total_seconds())
        yield _family("pipelines_runs_active", "Runs that have not ended.", count)
        yield _family("pipelines_runs_oldest_seconds", "Time since the creation of the oldest run in a phase.", oldest)
        yield GaugeMetricFamily(
            "pipelines_runs_overdue",
            "Runs that have not ended two minutes after their timeout, or after their pod should have stopped.",
            overdue,
        )


def _is_overdue(entry: Entry, now: datetime) -> bool:
    """Whether Kubernetes should have stopped it by now. A cancelled run has no Job any more, and may have a pod."""
    job, due = entry.job, now - _OVERDUE
    held = any(not pod.is_terminal and pod.gone_by is not None and due > pod.gone_by for pod in entry.pods.values())
    return held or (job is not None and due > job.created_at + timedelta(seconds=job.timeout_seconds))


def _family(name: str, text: str, values: dict[Phase, float] | dict[Phase, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["phase"])
    for phase, value in values.items():
        family.add_metric([phase.value], value)
    return family


RUN_GAUGES = RunGauges()
REGISTRY.register(RUN_GAUGES)
