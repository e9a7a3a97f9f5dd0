"""Plays the tables of docs/schedules.md: the schedule above each, minute by minute, with the operator's own shell."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from pipeline_core.lifecycle.phases import Phase
from support.schedule_operator import ScheduleOperator

_BLOCK = re.compile(r"```yaml\n(?P<yaml>.*?)```\n\n(?P<table>(?:\|[^\n]*\n)+)", re.DOTALL)
_MINUTE = timedelta(minutes=1)
# "a run takes ten minutes where nothing else is said"
_RUN_TAKES = timedelta(minutes=10)
_DIGITS = re.compile(r"(?<=z)-[0-9a-f]{4}$")
_REMARK = re.compile(r"[0-9]{2}:[0-9]{2}\b")


@dataclass(frozen=True)
class Story:
    """A schedule, and the rows of its table: the cells by the titles of their columns."""

    spec: dict[str, Any]
    rows: tuple[dict[str, str], ...]

    def __str__(self) -> str:
        return f"{self.spec} from {self.rows[0]['UTC']}"


def stories(page: str) -> Iterator[Story]:
    """Each YAML block that a table of times follows."""
    for found in _BLOCK.finditer(page):
        title, _, *rows = [_cells(line) for line in found["table"].splitlines()]
        if title[0] == "UTC":
            spec = yaml.safe_load(found["yaml"])["spec"]
            yield Story(spec, tuple(dict(zip(title, row, strict=True)) for row in rows))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class Player:
    """Plays a story, and says after each row what has come of it, in the page's own words."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._world = ScheduleOperator()
        self._world.set_clock(_time(story.rows[0]["UTC"]))
        self._is_away = False
        self._made: set[str] = set()
        self._cancelled: set[str] = set()
        self._missed = 0

    async def play(self) -> list[dict[str, str]]:
        """The table's rows as they are when they are played."""
        return [await self._row(row) for row in self._story.rows]

    async def _row(self, row: dict[str, str]) -> dict[str, str]:
        made: list[str] = []
        async for _ in self._minutes_until(_time(row["UTC"])):
            made += self._new_runs()
        if action := row["what happens"]:
            await self._do(action)
        await self._turn()
        made += self._new_runs()
        said = {
            "UTC": row["UTC"],
            "what happens": row["what happens"],
            "runs made": self._runs(made, row.get("runs made", "")),
            "next": self._next(),
            "with": self._with(made),
            "missed": self._newly_missed(),
            "cancelled": _listed(self._newly_cancelled()),
            "objects": _listed(sorted(self._world.runs())),
            "backfill": self._backfill(),
        }
        return {title: said[title] for title in row}

    async def _minutes_until(self, moment: datetime) -> Any:
        while self._world.time < moment:
            self._world.pass_time(_MINUTE.total_seconds())
            self._end_runs()
            await self._turn()
            yield

    async def _turn(self) -> None:
        if not self._is_away:
            await self._world.turn()

    def _end_runs(self) -> None:
        for name, body in self._world.runs().items():
            if (body.get("status") or {}).get("completedAt"):
                continue
            if body["spec"].get("cancel"):
                self._world.end(name, Phase.CANCELLED)
            elif self._world.time >= datetime.fromisoformat(body["metadata"]["creationTimestamp"]) + _RUN_TAKES:
                self._world.end(name)

    async def _do(self, action: str) -> None:
        world = self._world
        match re.split(r" (?=becomes|is )", action.replace("`", "")):
            case ["the schedule", "is applied"]:
                world.schedule(**{"parameters": {}, **self._story.spec})
            case ["the operator", "is stopped"]:
                self._is_away = True
            case ["the operator", "is started"]:
                self._is_away = False
                world.start_operator()
            case ["the subscription", becomes]:
                world.plans.status["acme"] = becomes.removeprefix("becomes ")
            case ["the annotation pipelines.dev/trigger", becomes]:
                world.edit(annotations={"pipelines.dev/trigger": becomes.removeprefix("becomes ")})
            case ["backfill", "is removed"]:
                world.edit(backfill=None)
            case [field, becomes] if becomes.startswith("becomes "):
                value = yaml.safe_load(becomes.removeprefix("becomes ").join(("[", "]")))[0]
                outer, _, inner = field.rpartition(".")
                world.edit(**({outer: {**world.object()["spec"][outer], inner: value}} if outer else {inner: value}))
            case _:
                assert _REMARK.match(action), f"nobody knows how to play {action!r}"

    # What there is, in the page's words

    def _new_runs(self) -> list[str]:
        new = sorted(set(self._world.runs()) - self._made, key=self._logical_time)
        self._made.update(new)
        return new

    def _logical_time(self, name: str) -> tuple[str, str]:
        return self._world.runs()[name]["spec"]["logicalTime"], name

    def _runs(self, made: list[str], expected: str) -> str:
        if expected == "one more":
            return "one more" if len(made) == 1 and made[0].startswith("nightly-now-") else _listed(made)
        return _listed(made)

    def _next(self) -> str:
        found = self._world.of().get("nextRunAt")
        return f"{datetime.fromisoformat(found):%Y-%m-%d %H:%M}" if found else ""

    def _with(self, made: list[str]) -> str:
        given = [self._world.runs()[name]["spec"].get("parameters") or {} for name in made]
        return ", ".join(f"`{name}` {value}" for each in given for name, value in each.items())

    def _newly_missed(self) -> str:
        status = self._world.of()
        more, self._missed = status.get("missed", 0) - self._missed, status.get("missed", 0)
        if not more:
            return ""
        return f"`{status['lastMissed']['reason']}`" + (f" {more}" if more > 1 else "")

    def _newly_cancelled(self) -> list[str]:
        cancelled = {name for name, body in self._world.runs().items() if body["spec"].get("cancel")}
        new, self._cancelled = cancelled - self._cancelled, self._cancelled | cancelled
        return sorted(new)

    def _backfill(self) -> str:
        found = self._world.of().get("backfill")
        if found is None:
            return ""
        return f"{found['state']}, {found['succeeded'] + found['failed']} of {found['total']}"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def _listed(names: list[str]) -> str:
    # Digits at the end are of the run's id, which is another one each time.
    return ", ".join(f"`{_DIGITS.sub('-…', name)}`" for name in names)
