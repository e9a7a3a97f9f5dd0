"""Durations and moments that people give to commands."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline_cli.times import duration, moment

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta()),
        ("0h", timedelta()),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(days=1)),
        ("99999d", timedelta(days=99_999)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert duration("grace", text) == expected


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "24 h", "24H", "100000d", "1w", "\u0661h", "1h\n"])
def test_what_is_none_is_refused_by_the_fields_name(text: str) -> None:
    for read in (duration, lambda field, given: moment(field, given, NOW)):
        with pytest.raises(ValueError, match=r"^grace '.*': expected a time"):
            read("grace", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1m", NOW + timedelta(minutes=1)),
        ("90d", datetime(2026, 6, 26, 12, tzinfo=UTC)),
        ("2026-03-29", datetime(2026, 3, 29, tzinfo=UTC)),
    ],
)
def test_a_moment_is_after_a_duration_or_the_beginning_of_a_day(text: str, expected: datetime) -> None:
    assert moment("expires", text, NOW) == expected


@pytest.mark.parametrize("text", ["0", "0d", "2026-03-28", "2026-03-27", "2026-02-30", "20260329", "9999-01-01"])
def test_a_moment_that_is_over_or_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^expires '{text}': expected a time to come"):
        moment("expires", text, NOW)
