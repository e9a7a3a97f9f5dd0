"""The parameters of a schedule's run: templates are those of its logical time, and what can't be is told by name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline_core.errors import ParametersInvalidError
from pipeline_core.schedules.parameters import resolve_parameters

NEW_YEAR = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)


def resolved(parameters: dict[str, int | str], logical_time: datetime = NEW_YEAR) -> dict[str, int | str]:
    return resolve_parameters(parameters, org_slug="acme", env="prod", run_id="run_1", logical_time=logical_time)


def test_each_variable_is_that_of_the_logical_time() -> None:
    texts = ("date", "yesterday", "year", "month", "day", "org_slug", "env", "run_id")
    assert list(resolved({name: f"{{{{ {name} }}}}" for name in texts}).values()) == [
        "2026-01-01",
        "2025-12-31",
        "2026",
        "01",
        "01",
        "acme",
        "prod",
        "run_1",
    ]


def test_the_day_is_that_of_utc() -> None:
    late = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    assert resolved({"date": "{{date}}"}, late) == {"date": "2025-12-31"}


def test_what_holds_no_template_stays_as_it_is() -> None:
    given = {"limit": 5, "text": "a {b} }", "empty": "", "mixed": "x-{{org_slug}}-{{org_slug}}"}
    assert resolved(given) == {**given, "mixed": "x-acme-acme"}
    assert list(resolved(given)) == list(given)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"date": "{{today}}"}, "parameter 'date': unknown variable 'today'; known: date, day, env, month, org_slug"),
        ({"a": 1, "date": "{{date"}, "parameter 'date': malformed template at '{{date'; expected {{variable}}"),
        ({"date": "{{billing_project_id}}"}, "parameter 'date': unknown variable 'billing_project_id'"),
    ],
)
def test_what_cannot_be_resolved_is_told_by_name(parameters: dict[str, int | str], words: str) -> None:
    with pytest.raises(ParametersInvalidError) as refused:
        resolved(parameters)
    assert str(refused.value).startswith(words)


def test_every_problem_is_told() -> None:
    with pytest.raises(ParametersInvalidError, match=r"parameter 'a': .*; parameter 'b': ") as refused:
        resolved({"a": "{{x}}", "b": "{{", "c": "{{date}}"})
    assert "parameter 'c'" not in str(refused.value)
