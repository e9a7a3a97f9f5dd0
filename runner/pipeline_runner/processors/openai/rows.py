"""What OpenAI's reports say, as rows: the reports, by what they are grouped, and the column of each field."""

from pipeline_runner.processors.api_results import Field, ResultReader, boolean, currency, decimal, text, whole

# `object` names the kind of result.
_IGNORED = ("object",)
_DIMENSIONS = {"project_id": text, "user_id": text, "api_key_id": text, "model": text, "batch": boolean,
               "service_tier": text, "size": text, "source": text}  # fmt: skip
_COUNTS = (
    "input_tokens",
    "input_cached_tokens",
    "output_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "num_model_requests",
    "images",
    "characters",
    "usage_bytes",
    "num_sessions",
    "num_requests",
)

# `api_key_id` is in the specification too, and the service has answered it with 400.
COSTS_GROUP_BY = ("project_id", "line_item")
_BY_MODEL = ("project_id", "user_id", "api_key_id", "model")
# https://platform.openai.com/docs/api-reference/usage: what each endpoint can be grouped by.
ENDPOINTS = {
    "completions": (*_BY_MODEL, "batch", "service_tier"),
    "embeddings": _BY_MODEL,
    "moderations": _BY_MODEL,
    "images": (*_BY_MODEL, "size", "source"),
    "audio_speeches": _BY_MODEL,
    "audio_transcriptions": _BY_MODEL,
    "vector_stores": ("project_id",),
    "code_interpreter_sessions": ("project_id",),
    "file_search_calls": ("project_id", "user_id", "api_key_id"),
    "web_search_calls": _BY_MODEL,
}

COSTS = ResultReader(
    (
        Field("project_id", ("project_id",), text),
        Field("line_item", ("line_item",), text),
        Field("quantity", ("quantity",), decimal),
        Field("amount", ("amount", "value"), decimal, required=True),
        Field("currency", ("amount", "currency"), currency, required=True),
    ),
    ignored=_IGNORED,
)


def usage(endpoint: str) -> ResultReader:
    """The reader of a usage endpoint's results. All endpoints have the same columns; most fields are of a few only."""
    fields = [
        *(Field(name, (name,), read) for name, read in _DIMENSIONS.items()),
        *(Field(name, (name,), whole) for name in _COUNTS),
        Field("seconds", ("seconds",), decimal),
    ]
    return ResultReader(fields, constants={"endpoint": endpoint}, ignored=_IGNORED)
