"""How many runs are under way and how old they are, counted when the metrics are read."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline_core.lifecycle.phases import Phase
from pipeline_operator.cache import Cache

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
        for run in self._cache.runs() if self._cache else ():
            if run.is_over:
                continue
            phase = run.status.phase or Phase.PENDING
            count[phase] += 1
            oldest[phase] = max(oldest[phase], (now - run.created_at).total_seconds())
            job = self._cache.get(run.uid).job if self._cache else None
            if job is not None and now > job.created_at + timedelta(seconds=job.timeout_seconds) + _OVERDUE:
                overdue += 1
        yield _family("pipelines_runs_active", "Runs that have not ended.", count)
        yield _family("pipelines_runs_oldest_seconds", "Time since the creation of the oldest run in a phase.", oldest)
        yield GaugeMetricFamily(
            "pipelines_runs_overdue", "Runs that have not ended two minutes after their timeout.", overdue
        )


def _family(name: str, text: str, values: dict[Phase, float] | dict[Phase, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["phase"])
    for phase, value in values.items():
        family.add_metric([phase.value], value)
    return family


RUN_GAUGES = RunGauges()
REGISTRY.register(RUN_GAUGES)
