"""What the simulated providers tell: the same for the same seed, key and day, and in every window the exact truth."""

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeline_local.simulators import openai_data
from pipeline_local.simulators.numbers import Literal, amount, dumps
from pipeline_local.simulators.server import ANTHROPIC_KEY, OPENAI_KEY
from pipeline_local.simulators.truth import Truth, truth
from pipeline_local.simulators.world import Provider, World
from support.simulated import DAY, NOW, ask, document, pages, results, window, world

COSTS, USAGE = "/v1/organization/costs", "/v1/organization/usage/"
REPORT, MESSAGES = "/v1/organizations/cost_report", "/v1/organizations/usage_report/messages"
FIRST, LAST = date(2026, 9, 1), date(2026, 10, 31)
KEYS: dict[Provider, str] = {"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}


def told(provider: Provider, first: date = FIRST, last: date = LAST, of: World | None = None, **how: Any) -> Truth:
    return truth(of or world(), provider, KEYS[provider], first, last, **how)


def grouped(*names: str) -> list[tuple[str, str]]:
    return [("group_by[]", name) for name in names]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_day_is_the_same_in_every_window(provider: Provider) -> None:
    whole, one = told(provider), told(provider, DAY, DAY)
    for table in ("costs", "usage"):
        assert one.rows[table]
        assert [row for row in whole.rows[table] if row["day"] == DAY] == one.rows[table]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_another_seed_or_key_is_another_organization(provider: Provider) -> None:
    mine = told(provider)
    assert mine == told(provider)
    assert mine != told(provider, of=world(seed=8))
    assert mine != truth(world(), provider, f"{KEYS[provider]}x", FIRST, LAST)
    assert mine.total("costs", "amount") > 0


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_weekends_and_nights_are_lower_and_some_days_empty(provider: Provider) -> None:
    days = told(provider, date(2026, 1, 1), LAST).sums["costs"]
    empty = [day for day, sums in days.items() if not any(sums.values())]
    assert 0.05 < len(empty) / len(days) < 0.16
    of_weekday = {
        weekend: [sums["amount"] for day, sums in days.items() if day not in empty and (day.weekday() >= 5) == weekend]
        for weekend in (False, True)
    }
    assert max(of_weekday[True]) < min(of_weekday[False])
    hours = Counter[int]()
    for row in told(provider, bucket_width="1h").rows["usage"]:
        hours[row["start"].hour] += 1
    assert hours[3] < hours[14] / 2


@pytest.mark.parametrize("width", ["1d", "1h", "1m"])
@pytest.mark.parametrize("by", [(), ("model",), openai_data.DIMENSIONS["completions"]])
def test_completions_sum_up_to_the_truth_however_they_are_asked_for(width: str, by: tuple[str, ...]) -> None:
    last = DAY + timedelta(days=1)
    query = [*window("openai", DAY, last), ("bucket_width", width), *grouped(*by)]
    read = results(world(), f"{USAGE}completions", query)
    expected = told("openai", DAY, last, bucket_width=width, group_by=by)
    rows = [row for row in expected.rows["usage"] if row["endpoint"] == "completions"]
    known = ("start", "end", "day", "endpoint")
    assert [{name: value for name, value in each.items() if name != "object"} for each in read] == [
        {name: value for name, value in row.items() if name not in known} for row in rows
    ]
    assert {name for each in read for name, value in each.items() if value is None} >= (
        set(openai_data.DIMENSIONS["completions"]) - set(by)
    )


@pytest.mark.parametrize("endpoint", openai_data.DIMENSIONS)
def test_each_endpoint_of_openai_has_usage(endpoint: str) -> None:
    read = results(world(), f"{USAGE}{endpoint}", window("openai", FIRST, LAST))
    sums = told("openai").rows["usage"]
    for name in openai_data.MEASURES[endpoint]:
        assert sum(each[name] for each in read) == sum(row[name] for row in sums if row["endpoint"] == endpoint)
    assert sum(each[openai_data.MEASURES[endpoint][0]] for each in read) > 0


def test_costs_of_openai_come_in_every_form_and_lose_nothing() -> None:
    query = [*window("openai", FIRST, LAST), ("limit", "180"), *grouped("project_id", "line_item")]
    read = results(world(), COSTS, query)
    amounts = [each["amount"]["value"] for each in read]
    assert {type(value) for value in amounts} == {str, Decimal}
    assert {("E" in str(value)) for value in amounts} == {True, False}
    assert {each["amount"]["currency"] for each in read} == {"usd"}
    exact = [Decimal(str(value)) for value in amounts]
    assert exact == [row["amount"] for row in told("openai").rows["costs"]]
    assert max(-int(value.as_tuple().exponent) for value in exact) > 12
    assert len({each["project_id"] for each in read}) > 2


@pytest.mark.parametrize(("form", "kind"), [("strings", str), ("numbers", (Decimal, int))], ids=["strings", "numbers"])
def test_amounts_can_be_had_in_one_form(form: str, kind: type) -> None:
    query = [*window("openai", DAY, DAY), *grouped("line_item")]
    for each in results(world(amounts=form), COSTS, query):
        assert isinstance(each["amount"]["value"], kind)


def test_an_amount_is_written_with_all_its_digits() -> None:
    value = Decimal("1234567890.1234567890123456789012345678901")
    assert amount(value, "strings") == str(value)
    assert dumps([Literal("0.10"), "0.10", None]) == b'[0.10,"0.10",null]'
    assert "1.8E-8" in {amount(Decimal(number).scaleb(-9), "mixed") for number in range(50)}
    with pytest.raises(TypeError, match="Decimal"):
        dumps([value])


def test_costs_of_anthropic_are_cents_in_strings() -> None:
    query = [*window("anthropic", FIRST, LAST), ("limit", "31"), *grouped("workspace_id", "description")]
    read, rows = results(world(), REPORT, query), told("anthropic").rows["costs"]
    assert [Decimal(each["amount"]) for each in read] == [row["cents"] for row in rows]
    assert all(row["amount"] * 100 == row["cents"] for row in rows)
    assert all(isinstance(each["amount"], str) for each in read)
    assert None in {each["workspace_id"] for each in read}
    without = results(world(), REPORT, window("anthropic", DAY, DAY))
    assert without[0] | {"amount": ""} == dict.fromkeys(without[0]) | {"amount": "", "currency": "USD"}


def test_priority_has_usage_alone_and_code_execution_costs_alone() -> None:
    known = told("anthropic")
    assert "priority" in {row["service_tier"] for row in known.rows["usage"]}
    assert "priority" not in {row["service_tier"] for row in known.rows["costs"]}
    (code,) = (row for row in known.rows["costs"] if row["cost_type"] == "code_execution" and row["day"] == DAY)
    assert (code["workspace_id"], code["model"], code["token_type"]) == (None, None, None)
    assert None in {row["api_key_id"] for row in known.rows["usage"]}
    assert None in {row["workspace_id"] for row in known.rows["usage"]}


def test_usage_of_anthropic_nests_what_is_written_and_searched() -> None:
    by = ("workspace_id", "model", "service_tier", "context_window", "api_key_id")
    query = [*window("anthropic", DAY, DAY), *grouped(*by)]
    read, rows = results(world(), MESSAGES, query), told("anthropic", DAY, DAY, group_by=by).rows["usage"]
    assert len(read) == len(rows) > 1
    for each, row in zip(read, rows, strict=True):
        assert each["cache_creation"]["ephemeral_1h_input_tokens"] == row["cache_creation.ephemeral_1h_input_tokens"]
        assert each["cache_creation"]["ephemeral_5m_input_tokens"] == row["cache_creation.ephemeral_5m_input_tokens"]
        assert each["server_tool_use"]["web_search_requests"] == row["server_tool_use.web_search_requests"]
        assert "ephemeral_1h_input_tokens" not in each
        assert {name: each[name] for name in by} == {name: row[name] for name in by}
        assert each["inference_geo"] is None


def test_a_filter_leaves_the_rest_out() -> None:
    costs = results(world(), COSTS, [*window("openai", DAY, DAY), *grouped("project_id")])
    chosen = costs[0]["project_id"]
    of_one = results(world(), COSTS, [*window("openai", DAY, DAY), *grouped("project_id"), ("project_ids[]", chosen)])
    assert of_one == costs[:1]
    batch = results(
        world(), f"{USAGE}completions", [*window("openai", FIRST, LAST), ("batch", "true"), *grouped("batch")]
    )
    assert {each["batch"] for each in batch} == {True}
    none = results(world(), MESSAGES, [*window("anthropic", DAY, DAY), ("models[]", "claude-0")])
    assert none == []


@pytest.mark.parametrize(("limit", "sizes"), [("5", [5, 5, 3]), ("13", [13]), (None, [7, 6])])
@pytest.mark.parametrize(("provider", "path"), [("openai", COSTS), ("anthropic", REPORT)])
def test_pages_follow_each_other_without_gap_or_end_missed(
    provider: str, path: str, limit: str | None, sizes: list[int]
) -> None:
    last = DAY + timedelta(days=12)
    query = [*window(provider, DAY, last), *([("limit", limit)] if limit else [])]
    read = list(pages(world(), path, query))
    assert [len(page["data"]) for page in read] == sizes
    name = "start_time" if provider == "openai" else "starting_at"
    starts = [bucket[name] for page in read for bucket in page["data"]]
    assert len(set(starts)) == 13
    assert starts == sorted(starts)


def test_a_start_between_buckets_is_moved_to_the_one_it_lies_in() -> None:
    noon = [("starting_at", "2026-10-05T14:00:00+02:00"), ("ending_at", "2026-10-06T01:00:00Z")]
    data = document(ask(world(), REPORT, noon))["data"]
    assert [bucket["starting_at"] for bucket in data] == ["2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z"]
    assert document(ask(world(), REPORT, window("anthropic", DAY, DAY)))["data"] == data[:1]


def test_what_is_yet_to_come_is_not_there() -> None:
    today = NOW.date()
    query = [*window("openai", today, today + timedelta(days=3)), ("bucket_width", "1h"), ("limit", "168")]
    data = document(ask(world(), f"{USAGE}completions", query))["data"]
    assert len(data) == 10, "from midnight to the hour that has begun"
    whole = told("openai", today, today, of=World(7, now=lambda: NOW + timedelta(days=1)))
    assert told("openai", today, today).total("usage", "input_tokens") < whole.total("usage", "input_tokens")
    assert document(ask(world(), COSTS, window("openai", today + timedelta(days=2), today + timedelta(days=3)))) == {
        "object": "page", "data": [], "has_more": False, "next_page": None,
    }  # fmt: skip


def test_the_plan_clears_days_and_holds_hours_back_until_it_is_replaced() -> None:
    of = world(empty_days=[DAY], late={DAY + timedelta(days=1): 12})
    complete = told("anthropic", DAY, DAY + timedelta(days=1)).sums["usage"]
    less = told("anthropic", DAY, DAY + timedelta(days=1), of=of).sums["usage"]
    assert less[DAY]["output_tokens"] == 0 < complete[DAY]["output_tokens"]
    late = DAY + timedelta(days=1)
    assert 0 < less[late]["output_tokens"] < complete[late]["output_tokens"]
    (bucket,) = document(ask(of, MESSAGES, window("anthropic", DAY, DAY)))["data"]
    assert bucket["results"] == []


def test_scale_makes_more_of_the_same_kind() -> None:
    rows = told("openai", DAY, DAY, of=world(scale=20)).rows["usage"]
    assert len(rows) > 10 * len(told("openai", DAY, DAY).rows["usage"])


def test_the_page_after_a_change_of_the_query_is_refused() -> None:
    first = document(ask(world(), COSTS, [*window("openai", FIRST, LAST), ("limit", "2")]))
    page = ("page", first["next_page"])
    for query in ([*window("openai", FIRST, DAY), page], [*window("openai", FIRST, LAST), ("page", "page_x")]):
        answer = ask(world(), COSTS, query)
        assert (answer.status, answer.document["error"]["code"]) == (400, "invalid_page")
    assert datetime.fromtimestamp(first["data"][0]["start_time"], NOW.tzinfo).date() == FIRST
