"""A wrong `source` or `target` of an API pipeline is told by field, value and what is expected."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pipeline_runner.config_errors import wrong_fields
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.anthropic.rows import USAGE_GROUP_BY
from pipeline_runner.processors.anthropic.usage_processor import AnthropicSource
from pipeline_runner.processors.api_source import ApiTarget
from pipeline_runner.processors.openai.rows import ENDPOINTS
from pipeline_runner.processors.openai.usage_processor import OpenAISource

URL = "https://api.example.com"


def openai(**fields: Any) -> OpenAISource:
    return OpenAISource.read({"source": {"type": "openai", "base_url": URL, **fields}})


def anthropic(**fields: Any) -> AnthropicSource:
    return AnthropicSource.read({"source": {"type": "anthropic", "base_url": URL, **fields}})


def test_what_is_left_out_has_its_default() -> None:
    source = openai()
    assert (source.bucket_width, source.at_once, source.rescan_days, source.catch_up_days) == ("1d", 4, 1, 90)
    assert source.endpoints == tuple(ENDPOINTS)
    assert anthropic().group_by == USAGE_GROUP_BY


@pytest.mark.parametrize("written", ["images, embeddings", "images,embeddings,images", ["images", "embeddings"]])
def test_endpoints_are_a_list_or_a_text(written: object) -> None:
    assert openai(endpoints=written).endpoints == ("images", "embeddings")


@pytest.mark.parametrize("written", ["all", " all ", ["all"]])
def test_all_names_all(written: object) -> None:
    assert openai(endpoints=written).endpoints == tuple(ENDPOINTS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"endpoints": "image"}, "source.endpoints: .*expected all, or some of completions, .*got 'image'"),
        ({"endpoints": ""}, "source.endpoints: .*expected all, or some of"),
        ({"endpoints": []}, "source.endpoints: "),
        ({"endpoints": 5}, "source.endpoints: .*expected all, or some of"),
        ({"bucket_width": "1m"}, "source.bucket_width: .*'1d' or '1h', got '1m'"),
        ({"at_once": 0}, "source.at_once: .*greater than or equal to 1, got 0"),
        ({"rescan_days": 91}, "source.rescan_days: .*less than or equal to 90, got 91"),
        ({"catch_up_days": 91}, "source.catch_up_days: .*less than or equal to 90, got 91"),
        ({"base_url": ""}, "source.base_url: "),
        ({"base_url": f"{URL}/v1/"}, "source.base_url: .*without /v1$"),
        ({"bucket_with": "1d"}, "source.bucket_with: "),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        openai(**fields)


@pytest.mark.parametrize(
    "address",
    [
        "https://u:hunter2222@api.openai.com/v1",
        "https://u:hunter2222@a" + "x" * 1_000,
        "https://u:hunter/2222@a" + "x" * 1_000,
    ],
)
def test_a_wrong_address_is_not_repeated(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^source\.base_url: ") as caught:
        openai(base_url=address)
    assert "hunter" not in str(caught.value)


KEY = "sk-admin-hunter2hunter2hunter2"


@pytest.mark.parametrize("field", ["api_key", "client_secret", "Authorization"])
def test_a_key_in_the_wrong_place_is_not_repeated(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^source\.{field}: unknown field; known here: type, base_url, ") as caught:
        openai(**{field: "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)
    assert ("put it into the integration's Secret" in str(caught.value)) == (field != "Authorization")


def test_the_value_of_a_field_that_is_named_like_a_credential_is_not_told() -> None:
    class Source(BaseModel):
        token: int

    with pytest.raises(ValidationError) as caught:
        Source.model_validate({"token": "hunter2hunter2"})
    told = str(wrong_fields(caught.value, Source, "source"))
    assert told == "source.token: a config is no place for a credential: put it into the integration's Secret"


@pytest.mark.parametrize("field", ["endpoints", "bucket_width", "at_once", "rescan_days"])
def test_a_key_in_a_field_that_is_known_is_not_repeated(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^source\.{field}: .*got '\[redacted\]'$") as caught:
        openai(**{field: KEY})
    assert "hunter2" not in str(caught.value)


def test_a_source_without_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"source\.base_url: required, but missing$"):
        OpenAISource.read({"source": {"type": "openai"}})
    with pytest.raises(ConfigError, match=r"source\.base_url: required, but missing"):
        OpenAISource.read({})


@pytest.mark.parametrize(
    "groups",
    [["api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo"], ["speed"], []],
)
def test_anthropic_is_grouped_by_one_to_five_known_dimensions(groups: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"source\.group_by"):
        anthropic(group_by=groups)
    assert anthropic(group_by=["inference_geo", "model"]).group_by == ("inference_geo", "model")


def test_the_tables_of_a_target() -> None:
    target = {"type": "bigquery", "dataset": "acme_dev", "table": "costs", "tables": {"usage": "used"}}
    assert ApiTarget.read({"target": target}).names == {"costs": "costs", "usage": "used"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tables": {}}, r"target\.tables\.usage: required, but missing"),
        ({"tables": None}, r"target\.tables: "),
        ({"tables": {"usage": "used", "users": "x"}}, r"target\.tables\.users: "),
        (
            {"tables": {"usage": "Costs"}},
            r"target\.tables\.usage: expected another table than target\.table, got costs",
        ),
        ({"table": "a`b"}, r"target\.table: 'a`b' doesn't match"),
    ],
)
def test_a_wrong_target_is_named(changed: dict[str, Any], message: str) -> None:
    target = {"dataset": "acme_dev", "table": "costs", "tables": {"usage": "used"}, **changed}
    with pytest.raises(ConfigError, match=message):
        ApiTarget.read({"target": target})
