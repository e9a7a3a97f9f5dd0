"""What OpenAI reports becomes the row that docs/providers/openai.md describes."""

from decimal import Decimal

import pytest

from pipeline_runner.processors.api_results import UnfitError
from pipeline_runner.processors.openai import rows

COST = {
    "object": "organization.costs.result",
    "amount": {"value": "12.3400000001", "currency": "usd"},
    "line_item": "gpt-5, input",
    "project_id": "proj_1",
    "quantity": Decimal("1.5"),
}
COMPLETIONS = {
    "object": "organization.usage.completions.result",
    "input_tokens": 1000,
    "input_cached_tokens": 800,
    "output_tokens": 500,
    "input_audio_tokens": 0,
    "output_audio_tokens": 0,
    "num_model_requests": 5,
    "project_id": "proj_1",
    "user_id": None,
    "api_key_id": "key_1",
    "model": "gpt-5",
    "batch": False,
    "service_tier": "default",
}


def test_a_cost() -> None:
    assert rows.COSTS.read(COST) == {
        "project_id": "proj_1",
        "line_item": "gpt-5, input",
        "quantity": Decimal("1.5"),
        "amount": Decimal("12.3400000001"),
        "currency": "USD",
        "further": None,
    }


@pytest.mark.parametrize("value", ["0.06", Decimal("0.06"), "6E-2", Decimal("6E-2")])
def test_an_amount_may_be_a_number_or_a_string(value: object) -> None:
    assert rows.COSTS.read(COST | {"amount": {"value": value, "currency": "usd"}})["amount"] == Decimal("0.06")


def test_a_usage_row_names_its_endpoint_and_leaves_null_what_others_report() -> None:
    row = rows.usage("completions").read(COMPLETIONS)
    given = {name: value for name, value in COMPLETIONS.items() if name != "object"}
    empty = dict.fromkeys(
        ("size", "source", "images", "seconds", "characters", "usage_bytes", "num_sessions", "num_requests", "further")
    )
    assert row == {"endpoint": "completions"} | given | empty


@pytest.mark.parametrize(
    ("endpoint", "field", "value"),
    [
        ("images", "images", 4),
        ("audio_speeches", "characters", 45),
        ("audio_transcriptions", "seconds", Decimal("20.5")),
        ("vector_stores", "usage_bytes", 1 << 40),
        ("code_interpreter_sessions", "num_sessions", 1),
        ("file_search_calls", "num_requests", 2),
        ("web_search_calls", "num_requests", 3),
    ],
)
def test_each_endpoints_own_count_has_its_column(endpoint: str, field: str, value: object) -> None:
    row = rows.usage(endpoint).read({"object": "x", field: value, "project_id": "proj_1"})
    assert (row["endpoint"], row[field], row["project_id"], row["input_tokens"]) == (endpoint, value, "proj_1", None)


def test_new_fields_are_kept() -> None:
    row = rows.usage("completions").read(COMPLETIONS | {"input_image_tokens": 7, "api_source": None})
    assert row["further"] == {"input_image_tokens": 7}
    assert rows.COSTS.read(COST | {"quantity_unit": "tokens"})["further"] == {"quantity_unit": "tokens"}


def test_a_cost_without_an_amount_does_not_fit() -> None:
    with pytest.raises(UnfitError, match=r"amount\.value: required, but missing"):
        rows.COSTS.read(COST | {"amount": None})


def test_every_endpoint_is_grouped_by_columns_of_the_table() -> None:
    columns = rows.usage("x").read({}).keys()
    assert len(rows.ENDPOINTS) == 10
    assert all(set(groups) <= columns for groups in rows.ENDPOINTS.values())
    assert "api_key_id" not in rows.COSTS_GROUP_BY  # refused by the service, though its specification has it
