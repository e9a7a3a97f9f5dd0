"""docs/schedules.md: each of its tables is what the operator does, row by row."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_core.schedules.observed import MissedReason
from support.schedule_stories import Player, Story, stories

PAGE = (Path(__file__).parents[3] / "docs/schedules.md").read_text()
STORIES = list(stories(PAGE))


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_a_table_is_what_happens(story: Story) -> None:
    assert await Player(story).play() == list(story.rows)


def test_every_table_of_times_is_played() -> None:
    assert len(STORIES) == PAGE.count("\n| UTC |") > 15


@pytest.mark.parametrize("story", STORIES[:2], ids=str)
async def test_a_table_that_is_wrong_fails(story: Story) -> None:
    for number, row in enumerate(story.rows):
        for title, cell in row.items():
            if title in {"UTC", "what happens"}:
                continue
            wrong = {**row, title: "`nightly-20261122t0601z`" if not cell else ""}
            rows = (*story.rows[:number], wrong, *story.rows[number + 1 :])
            assert await Player(replace(story, rows=rows)).play() != list(rows)


def test_each_reason_of_a_missed_tick_is_explained() -> None:
    for reason in MissedReason:
        assert f"\n| `{reason.value}` |" in PAGE
