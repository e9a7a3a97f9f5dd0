"""What a response says about asking again is read from every form of header, and nonsense never hurts."""

from datetime import UTC, datetime

import pytest

from pipeline_runner.api.retries import Verdict, Wait, asked_wait, backoff, verdict

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
YEAR = 366 * 86_400.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, Verdict.DONE) for status in (200, 204)),
        *((status, Verdict.MOVED) for status in (301, 302, 304, 307, 308)),
        *((status, Verdict.DENIED) for status in (401, 403)),
        *((status, Verdict.REFUSED) for status in (400, 404, 405, 410, 413, 422, 501, 505)),
        *((status, Verdict.AGAIN) for status in (408, 409, 500, 502, 503, 504, 520, 529)),
        (429, Verdict.THROTTLED),
    ],
)
def test_verdict(status: int, expected: Verdict) -> None:
    assert verdict(status) is expected


@pytest.mark.parametrize(
    ("headers", "kinds", "expected"),
    [
        ({}, ["requests", "rate_limit_exceeded"], Verdict.THROTTLED),
        ({}, ["insufficient_quota"], Verdict.REFUSED),
        ({}, ["requests", "billing_hard_limit_reached"], Verdict.REFUSED),
        ({"x-should-retry": "false"}, [], Verdict.REFUSED),
        ({"x-should-retry": "true"}, [], Verdict.THROTTLED),
    ],
)
def test_too_many_requests_may_be_for_good(headers: dict[str, str], kinds: list[str], expected: Verdict) -> None:
    assert verdict(429, headers, kinds) is expected


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [
        ("retry-after-ms", "20", 0.02),
        ("retry-after-ms", "1500.5", 1.5005),
        ("retry-after-ms", "0", 0.0),
        ("retry-after", "0", 0.0),
        ("retry-after", "7", 7.0),
        ("retry-after", " 7 ", 7.0),
        ("retry-after", "1.5", 1.5),
        ("retry-after", "9" * 30, YEAR),
        ("retry-after", "Mon, 02 Mar 2026 12:00:30 GMT", 30.0),
        ("retry-after", "Mon, 02 Mar 2026 11:00:00 GMT", 0.0),
        ("retry-after", "Monday, 02-Mar-26 12:00:30 GMT", 30.0),
        ("retry-after", "Mon Mar  2 12:00:30 2026", 30.0),
        ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", YEAR),
        ("x-ratelimit-reset-requests", "1s", 1.0),
        ("x-ratelimit-reset-requests", "6m0s", 360.0),
        ("x-ratelimit-reset-requests", "1h2m3.5s", 3723.5),
        ("x-ratelimit-reset-tokens", "20ms", 0.02),
        ("x-ratelimit-reset-tokens", "1m30.951s", 90.951),
        ("x-ratelimit-reset-project-tokens", "12µs", 12e-6),
        ("x-ratelimit-reset-requests", "9" * 30 + "h", YEAR),
        ("anthropic-ratelimit-requests-reset", "2026-03-02T12:00:09Z", 9.0),
        ("anthropic-ratelimit-requests-reset", "2026-03-02T14:00:09.250+02:00", 9.25),
        ("anthropic-ratelimit-requests-reset", "2026-03-02T11:59:00Z", 0.0),
        ("anthropic-ratelimit-requests-reset", "9999-12-31T23:59:59Z", YEAR),
    ],
)
def test_every_form_of_wait(header: str, value: str, seconds: float) -> None:
    found = asked_wait({header: value}, NOW, throttled=True)
    assert found is not None
    assert (found.header, found.seconds) == (header, pytest.approx(seconds))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *(
            (header, value)
            for header in ("retry-after-ms", "retry-after", "x-ratelimit-reset-requests")
            for value in ("", "soon", "-5", "nan", "inf", "1e9", "0x10", "٣", "9" * 5_000, "5, 7")
        ),
        ("retry-after-ms", "1s"),
        ("retry-after-ms", "Mon, 02 Mar 2026 12:00:30 GMT"),
        ("retry-after", "Mon, 99 Mar 2026 12:00:30 GMT"),
        ("retry-after", "2026-03-02T12:00:09Z"),
        ("x-ratelimit-reset-requests", "-1s"),
        ("x-ratelimit-reset-requests", "6m0"),
        ("x-ratelimit-reset-requests", "6 m"),
        ("x-ratelimit-reset-requests", "6M"),
        ("x-ratelimit-reset-requests", "1772452800"),
        ("anthropic-ratelimit-requests-reset", "soon"),
        ("anthropic-ratelimit-requests-reset", "2026-03-02T12:00:09"),
        ("anthropic-ratelimit-requests-reset", "2026-13-02T12:00:09Z"),
        ("anthropic-ratelimit-requests-reset", "-5"),
        ("x-something-else", "7"),
    ],
)
def test_nonsense_asks_for_nothing(header: str, value: str) -> None:
    assert asked_wait({header: value}, NOW, throttled=True) is None


ALL = {
    "retry-after-ms": "100",
    "retry-after": "2",
    "x-ratelimit-reset-requests": "3s",
    "anthropic-ratelimit-requests-reset": "2026-03-02T12:00:04Z",
}


@pytest.mark.parametrize(("unreadable", "expected"), [(0, 0.1), (1, 2.0), (2, 3.0), (3, 4.0)])
def test_the_first_that_can_be_read_counts(unreadable: int, expected: float) -> None:
    names = list(ALL)
    said = {name: "nonsense" if names.index(name) < unreadable else value for name, value in ALL.items()}
    assert asked_wait(said, NOW, throttled=True) == Wait(expected, names[unreadable])


def test_the_longest_reset_counts_or_that_of_the_limit_which_is_used_up() -> None:
    said = {"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-odd": "?"}
    assert asked_wait(said, NOW, throttled=True) == Wait(360.0, "x-ratelimit-reset-tokens")
    used_up = {**said, "x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "149984"}
    assert asked_wait(used_up, NOW, throttled=True) == Wait(2.0, "x-ratelimit-reset-requests")


def test_resets_say_nothing_about_an_error_that_is_no_throttling() -> None:
    informing = {name: value for name, value in ALL.items() if "ratelimit" in name}
    assert asked_wait(informing, NOW, throttled=False) is None
    assert asked_wait({**informing, "retry-after": "2"}, NOW, throttled=False) == Wait(2.0, "retry-after")


def test_the_answers_own_date_is_now() -> None:
    said = {"date": "Mon, 02 Mar 2026 13:00:00 GMT", "retry-after": "Mon, 02 Mar 2026 13:00:05 GMT"}
    assert asked_wait(said, NOW, throttled=True) == Wait(5.0, "retry-after")
    assert asked_wait({**said, "date": "whenever"}, NOW, throttled=True) == Wait(3605.0, "retry-after")


def test_backoff_doubles_to_half_a_minute_and_is_all_chance() -> None:
    assert [backoff(attempt, 1.0) for attempt in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff(10_000, 1.0) == 30
    assert backoff(4, 0.25) == 1.0
    assert backoff(4, 0.0) == 0.0
