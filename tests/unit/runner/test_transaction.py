"""The script that publishes a run: what it changes first, what stops it, and what it leaves."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.publishing import Publisher, refuse_lineage
from pipeline_runner.bigquery.transaction import Publication, Target, script
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError

AT = datetime(2026, 11, 2, 3, tzinfo=UTC)
FIRST, LAST = Window(date(2026, 11, 1), date(2026, 11, 1)), Window(date(2026, 11, 3), date(2026, 11, 4))


def publication(name: str, *windows: Window) -> Publication:
    target = Target(f"p.d.{name}", Column("day", "DATE"), "US")
    return Publication(target, f"p.d._staging_{name}", [("day", "s.`day`")], windows, 2, AT)


def test_all_targets_are_locked_by_one_statement_before_anything_else() -> None:
    lines = script("run_1", [publication("a", FIRST), publication("b", LAST)]).splitlines()
    locked = "UPDATE `p.d._pipelines_locks` SET run_id = 'run_1', locked_at = CURRENT_TIMESTAMP() WHERE target IN"
    assert lines[:2] == ["BEGIN TRANSACTION;", f"{locked} ('a', 'b');"]
    assert lines[-2:] == [
        "COMMIT TRANSACTION;",
        "SELECT SUM(row_count) AS published FROM `p.d._pipelines_commits` WHERE run_id = 'run_1';",
    ]


def test_what_was_published_since_a_long_reading_began_is_as_good_as_newer_where_figures_change() -> None:
    at, first = "TIMESTAMP '2026-11-02 03:00:00+00:00'", "window_start <= DATE '2026-11-01' AND window_end >="
    made = script("run_1", [publication("a", FIRST, LAST)])
    assert f"target = 'a' AND (read_at > {at} AND (({first}" in made
    assert "committed_at >" not in made
    made = script("run_1", [replace(publication("a", FIRST, LAST), moving=(LAST,))])
    last = "(window_start <= DATE '2026-11-04' AND window_end >= DATE '2026-11-03')"
    assert f" OR committed_at > {at} AND ({last}))" in made


def test_days_that_are_kept_have_a_marker_and_nothing_else() -> None:
    made = script("run_1", [replace(publication("a", FIRST), kept=(LAST,))])
    assert "'2026-11-03'" not in made[: made.index("INSERT INTO `p.d._pipelines_commits`")]
    assert "SELECT 'run_1', 'a', DATE '2026-11-03', DATE '2026-11-04', (SELECT COUNT(*)" in made


def test_no_target_is_changed_before_all_are_known_to_be_older() -> None:
    made = script("run_1", [publication("a", FIRST), publication("b", LAST)])
    assert made.rindex("rows of a newer read") < made.index("DELETE FROM")


def test_days_are_constants_by_which_partitions_are_pruned() -> None:
    made = script("run_1", [publication("a", FIRST, LAST)])
    days = (
        "(`day` >= DATE '2026-11-01' AND `day` < DATE '2026-11-02') OR "
        "(`day` >= DATE '2026-11-03' AND `day` < DATE '2026-11-05')"
    )
    assert f"DELETE FROM `p.d.a` WHERE {days};" in made
    assert f"IF (SELECT COUNT(*) FROM `p.d.a` WHERE {days}) != 2 THEN" in made
    assert "window_start <= DATE '2026-11-04' AND window_end >= DATE '2026-11-03'" in made
    assert made.count("SELECT 'run_1', 'a', DATE") == 2


def test_a_table_without_days_gets_a_marker_alone() -> None:
    made = script("run_1", [publication("a")])
    assert "DELETE" not in made
    assert "SELECT 'run_1', 'a', CAST(NULL AS DATE), CAST(NULL AS DATE), 0," in made


def test_windows_that_overlap_are_a_defect() -> None:
    with pytest.raises(ValueError, match=r"the windows of p\.d\.a overlap on 2026-11-01"):
        publication("a", Window(date(2026, 11, 1), date(2026, 11, 2)), FIRST)


@pytest.mark.parametrize("name", ["run_id", "LOADED_AT"])
def test_a_source_with_a_column_of_the_lineage_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"source table p\.d\.s has the columns {name}, which .*{name} AS source_{name}, and"
    ):
        refuse_lineage((Column("a", "STRING"), Column(name, "STRING")), "source table p.d.s")


def test_targets_of_two_datasets_are_a_defect() -> None:
    targets = [Target(f"p.{each}.t", Column("day", "DATE"), "US") for each in ("a", "b")]
    with pytest.raises(ValueError, match="aren't of one dataset"):
        Publisher(None, targets, "run_1")  # type: ignore[arg-type]
