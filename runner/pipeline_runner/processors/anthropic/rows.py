"""What Anthropic's reports say, as rows: by what they are grouped, and the column of each field."""

from pipeline_runner.processors.api_results import Field, ResultReader, currency, hundredths, text, whole

# The service allows no more of these than five, though there are more.
MOST_GROUPS = 5
USAGE_DIMENSIONS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")
USAGE_GROUP_BY = USAGE_DIMENSIONS[:MOST_GROUPS]
COSTS_GROUP_BY = ("workspace_id", "description")

_COST_TEXTS = ("workspace_id", "description", "cost_type", "token_type", "model", "service_tier", "context_window",
               "inference_geo")  # fmt: skip


def _dollars(value: object) -> str:
    """USD. The amount is in the currency's lowest unit, which others have of another size. Raises ValueError."""
    if currency(value) != "USD":
        raise ValueError("USD, whose cents the amount is in")
    return "USD"


COSTS = ResultReader(
    (
        *(Field(name, (name,), text) for name in _COST_TEXTS),
        # In cents: "123.45" is 1.2345 USD.
        Field("amount", ("amount",), hundredths, required=True),
        Field("currency", ("currency",), _dollars, required=True),
    )
)

USAGE = ResultReader(
    (
        *(Field(name, (name,), text) for name in USAGE_DIMENSIONS),
        Field("uncached_input_tokens", ("uncached_input_tokens",), whole),
        Field("cache_read_input_tokens", ("cache_read_input_tokens",), whole),
        # Within an object: there are no such fields beside the others.
        Field("cache_creation_1h_input_tokens", ("cache_creation", "ephemeral_1h_input_tokens"), whole),
        Field("cache_creation_5m_input_tokens", ("cache_creation", "ephemeral_5m_input_tokens"), whole),
        Field("output_tokens", ("output_tokens",), whole),
        Field("web_search_requests", ("server_tool_use", "web_search_requests"), whole),
    )
)
