"""What Anthropic reports becomes the row that docs/providers/anthropic.md describes."""

from decimal import Decimal
from typing import Any

import pytest

from pipeline_runner.processors.anthropic import rows
from pipeline_runner.processors.api_results import UnfitError

COST: dict[str, Any] = {
    "amount": "123.45",
    "currency": "USD",
    "cost_type": "tokens",
    "token_type": "uncached_input_tokens",
    "model": "claude-opus-5",
    "service_tier": "standard",
    "context_window": "0-200k",
    "inference_geo": None,
    "description": "Claude Opus 5 Usage - Input Tokens",
    "workspace_id": None,
}
USAGE: dict[str, Any] = {
    "uncached_input_tokens": 1500,
    "cache_read_input_tokens": 200,
    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
    "output_tokens": 500,
    "server_tool_use": {"web_search_requests": 10},
    "api_key_id": None,
    "workspace_id": "wrkspc_1",
    "model": "claude-opus-5",
    "service_tier": "standard",
    "context_window": "0-200k",
}


def test_a_cost_in_cents_is_one_in_dollars() -> None:
    assert rows.COSTS.read(COST) == COST | {"amount": Decimal("1.2345"), "further": None}


@pytest.mark.parametrize(
    ("cents", "dollars"), [("1", "0.01"), ("0.0001", "0.000001"), ("100000", "1000"), ("-7", "-0.07")]
)
def test_cents_are_divided_by_a_hundred(cents: str, dollars: str) -> None:
    assert rows.COSTS.read(COST | {"amount": cents})["amount"] == Decimal(dollars)


def test_cents_of_another_currency_are_not_guessed() -> None:
    """A yen has no hundredths."""
    assert rows.COSTS.read(COST | {"currency": "usd"})["currency"] == "USD"
    with pytest.raises(UnfitError, match="currency: expected USD, whose cents the amount is in, got 'JPY'"):
        rows.COSTS.read(COST | {"currency": "JPY"})


def test_the_caches_fields_are_those_within_the_object() -> None:
    row = rows.USAGE.read(USAGE | {"cache_creation_input_tokens": 0, "ephemeral_1h_input_tokens": 0})
    assert (row["cache_creation_1h_input_tokens"], row["cache_creation_5m_input_tokens"]) == (1000, 500)
    assert row["web_search_requests"] == 10
    # flat ones aren't theirs: kept, but as what no column is for
    assert row["further"] == {"cache_creation_input_tokens": 0, "ephemeral_1h_input_tokens": 0}


def test_the_default_workspace_and_the_console_are_null() -> None:
    row = rows.USAGE.read(USAGE | {"workspace_id": None})
    assert (row["workspace_id"], row["api_key_id"], row["inference_geo"]) == (None, None, None)
    assert row["further"] is None


def test_new_fields_are_kept_in_their_objects() -> None:
    result = USAGE | {
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_24h_input_tokens": 9},
        "speed": "fast",
    }
    row = rows.USAGE.read(result)
    assert row["cache_creation_1h_input_tokens"] is None
    assert row["further"] == {"cache_creation": {"ephemeral_24h_input_tokens": 9}, "speed": "fast"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"cache_creation": 5}, "cache_creation: expected an object, got 5"),
        ({"output_tokens": "1.5"}, r"output_tokens: expected a whole number, got '1\.5'"),
        ({"model": ["a"]}, r"model: expected a string, got \['a'\]"),
    ],
)
def test_another_type_does_not_fit(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        rows.USAGE.read(USAGE | changed)


def test_there_are_at_most_five_groups() -> None:
    assert len(rows.USAGE_GROUP_BY) == rows.MOST_GROUPS == 5
    assert set(rows.USAGE_GROUP_BY) < set(rows.USAGE_DIMENSIONS)
