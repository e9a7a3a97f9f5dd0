"""The simulators' faults: which requests meet them, how each provider words them, and pages that are wrong."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_local.simulators.faults import Fault, Faults, duration, of_kind
from pipeline_local.simulators.plan import HARMLESS, KINDS, Kind, Plan
from pipeline_local.simulators.world import Provider
from support.simulated import DAY, NOW, ask, document, window, world

COSTS, REPORT = "/v1/organization/costs", "/v1/organizations/cost_report"
WEEK = DAY + timedelta(days=6)


def kinds(plan: Plan, lines: list[str], provider: Provider = "openai") -> list[str | None]:
    faults = Faults(plan)
    met = [faults.next(provider, line, NOW) for line in lines]
    return [None if fault is None else fault.kind for fault in met]


def test_chances_depend_on_seed_and_request_alone() -> None:
    plan = Plan(seed=1, faults={"500": 0.3, "reset": 0.3})
    lines = [f"/v1/organization/costs?limit={number % 50}" for number in range(500)]
    met = kinds(plan, lines)
    assert met == kinds(plan, lines)
    by_line = dict(zip(reversed(lines), reversed(met), strict=True))
    backwards = kinds(plan, list(reversed(lines)))
    assert sorted(map(str, met)) == sorted(map(str, backwards)), "the order of different requests changes nothing"
    assert len(by_line) == 50
    assert met != kinds(Plan(seed=2, faults=plan.faults), lines)
    assert met != kinds(plan, lines, "anthropic")
    assert 0.15 < met.count("500") / len(met) < 0.4
    assert 0.15 < met.count("reset") / len(met) < 0.4


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_request_that_is_asked_again_is_answered_in_the_end(most: int) -> None:
    met = kinds(Plan(faults={"503": 1}, in_a_row=most), ["/costs"] * 12)
    assert met == (["503"] * most + [None]) * (12 // (most + 1))
    assert kinds(Plan(faults={"slow": 1}), ["/costs"] * 9) == ["slow"] * 9, "what is harmless may stay"


def test_a_script_meets_the_requests_it_names() -> None:
    script: Any = [
        {"path": r"^anthropic .*cost_report", "kind": "500", "times": None},
        {"path": r"^openai .*page=", "kind": "reset", "after": 1, "times": 2},
        {"path": "costs$", "status": 403, "body": {"error": {"message": "no"}}, "headers": {"x": "y"}},
    ]
    faults = Faults(Plan(script=script, faults={"slow": 1}))
    paged = [faults.next("openai", "/costs?page=1", NOW) for _ in range(4)]
    assert [fault and fault.kind for fault in paged] == ["slow", "reset", "reset", "slow"]
    assert faults.next("openai", "/costs", NOW) == Fault(None, 403, {"error": {"message": "no"}}, {"x": "y"})
    assert faults.next("openai", "/costs", NOW) == Fault("slow")
    assert [faults.next("anthropic", "/cost_report", NOW) for _ in range(5)] == [
        of_kind("500", "anthropic", Plan(), NOW)
    ] * 5


@pytest.mark.parametrize(
    ("kind", "header", "expected"),
    [
        ("429-retry-after-ms", "retry-after-ms", "1500"),
        ("429-retry-after", "retry-after", "2"),
        ("429-reset", "x-ratelimit-reset-requests", "1.5s"),
    ],
)
def test_openai_says_when_to_ask_again(kind: Kind, header: str, expected: str) -> None:
    fault = of_kind(kind, "openai", Plan(wait_ms=1500), NOW)
    assert (fault.status, fault.headers[header]) == (429, expected)
    assert fault.body["error"]["code"] == "rate_limit_exceeded"


def test_dates_are_no_earlier_than_the_wait() -> None:
    now = datetime(2026, 11, 20, 9, 30, 0, 1, tzinfo=UTC)
    plan = Plan(wait_ms=1500)
    told = of_kind("429-retry-after-date", "openai", plan, now).headers["retry-after"]
    assert parsedate_to_datetime(told) == datetime(2026, 11, 20, 9, 30, 2, tzinfo=UTC)
    for kind in ("429-retry-after-ms", "429-retry-after", "429-retry-after-date", "429-reset"):
        headers = of_kind(kind, "anthropic", plan, now).headers
        assert headers == {"anthropic-ratelimit-requests-reset": "2026-11-20T09:30:02Z"}
    assert of_kind("429-bare", "openai", plan, now).headers == of_kind("429-bare", "anthropic", plan, now).headers == {}


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (120, "120ms"), (1000, "1s"), (1500, "1.5s"), (360_000, "6m0s"), (3_723_000, "1h2m3s")],
)
def test_durations_are_written_as_openai_writes_them(milliseconds: int, text: str) -> None:
    assert duration(timedelta(milliseconds=milliseconds)) == text


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_an_answer_or_for_the_server_to_do(kind: Kind, provider: Provider) -> None:
    fault = of_kind(kind, provider, Plan(), NOW)
    assert (fault.status is not None) == kind[0].isdigit()
    assert fault.status is None or str(fault.status) == kind[:3]
    assert fault.status is None or kind not in HARMLESS
    if fault.status not in (None, 503):
        assert fault.body["error"]["message"]


def page(fault: Kind, path: str = COSTS, **more: str) -> dict[str, Any]:
    provider = "openai" if path == COSTS else "anthropic"
    return document(ask(world(), path, [*window(provider, DAY, WEEK), *more.items()], fault=fault))


@pytest.mark.parametrize("path", [COSTS, REPORT])
def test_pages_are_wrong_in_the_way_that_is_named(path: str) -> None:
    right = page("slow", path)
    assert (len(right["data"]), right["has_more"]) == (7, False)
    short = page("short-page", path)
    assert (short["data"], short["has_more"]) == (right["data"][:3], True)
    assert page("slow", path, page=short["next_page"])["data"] == right["data"][3:]
    assert page("no-next-page", path) == {**right, "has_more": True, "next_page": None}
    same = page("same-page", path)
    assert page("same-page", path, page=same["next_page"]) == same
    assert page("missing-bucket", path)["data"] == [*right["data"][:3], *right["data"][4:]]
    more = page("unknown-fields", path)["data"][0]["results"][0]
    assert more.items() > right["data"][0]["results"][0].items()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"faults": {"500": 0.6, "503": 0.6}}, "sum to 1 at most"),
        ({"faults": {"500": -1}}, "not negative"),
        ({"faults": {"418": 1}}, "429-retry-after-ms"),
        ({"script": [{"path": "(", "kind": "500"}]}, "a regular expression"),
        ({"script": [{"path": "x"}]}, "either kind or status"),
        ({"script": [{"path": "x", "kind": "500", "status": 500}]}, "either kind or status"),
        ({"latency": 1}, "latency"),
    ],
)
def test_a_wrong_plan_is_refused(plan: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Plan(**plan)
