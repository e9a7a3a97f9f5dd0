"""How many schedules there are, by what becomes of their ticks, counted when the metrics are read."""

from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline_core.schedules.observed import ScheduleStatus
from pipeline_operator.schedules.cache import ScheduleCache

_STATES = ("scheduled", "disabled", "suspended", "stalled", "new")


class ScheduleGauges(Collector):
    """Of the schedules in a cache; there are none until `observe` names one."""

    def __init__(self) -> None:
        self._cache: ScheduleCache | None = None

    def observe(self, cache: ScheduleCache) -> None:
        """Count the schedules of `cache` from now on."""
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The family, each state present also where no schedule is in it."""
        count = dict.fromkeys(_STATES, 0)
        for entry in self._cache.entries() if self._cache else ():
            count[state_of(entry.current.status)] += 1
        family = GaugeMetricFamily(
            "pipelines_schedules", "Schedules, by what becomes of their ticks.", labels=["state"]
        )
        for state, value in count.items():
            family.add_metric([state], value)
        yield family


def state_of(status: ScheduleStatus) -> str:
    """`stalled` can't work as it is, `suspended` waits for its organization, `new` wasn't looked at yet."""
    conditions = {each.type: each for each in status.conditions}
    if "Ready" not in conditions:
        return "new"
    suspended = conditions.get("Suspended")
    if suspended is not None and suspended.is_true:
        return "disabled" if suspended.reason == "Disabled" else "suspended"
    return "scheduled" if conditions["Ready"].is_true else "stalled"


SCHEDULE_GAUGES = ScheduleGauges()
REGISTRY.register(SCHEDULE_GAUGES)
