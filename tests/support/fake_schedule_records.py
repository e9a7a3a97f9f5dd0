"""ScheduleRecords without PostgreSQL: the mirror's rows in a dictionary."""

from collections.abc import Collection, Sequence
from typing import Any

from pipeline_core.store.schedules import ScheduleRow


class FakeScheduleRecords:
    """`fault` is called with each method's name, and raises what goes wrong; `puts` counts rows that were put."""

    def __init__(self) -> None:
        self.rows: dict[str, ScheduleRow] = {}
        self.fault: Any = lambda method: None
        self.puts = 0

    async def put_many(self, rows: Sequence[ScheduleRow]) -> int:
        self.fault("put_many")
        self.puts += len(rows)
        news = [row for row in rows if self.rows.get(row.schedule_id) != row]
        self.rows |= {row.schedule_id: row for row in news}
        return len(news)

    async def remove_many(self, schedule_ids: Collection[str]) -> int:
        self.fault("remove_many")
        return sum(self.rows.pop(schedule_id, None) is not None for schedule_id in schedule_ids)

    async def listed(self, namespaces: Sequence[str] | None = None) -> set[str]:
        self.fault("listed")
        return {key for key, row in self.rows.items() if namespaces is None or row.object_namespace in namespaces}
