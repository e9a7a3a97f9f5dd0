"""What an organization used and spent at OpenAI on a day: made from seeds, exact, the same whenever it is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from random import Random

from pipeline_local.simulators.seeds import Line, Lines, Value, busy_hours, discount, identifier, is_empty, randomness

# The dimensions of each usage endpoint, by which it can group, and its measures.
_CALLER = ("project_id", "user_id", "api_key_id")
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "completions": (*_CALLER, "model", "batch", "service_tier"),
    "embeddings": (*_CALLER, "model"),
    "moderations": (*_CALLER, "model"),
    "images": (*_CALLER, "model", "size", "source"),
    "audio_speeches": (*_CALLER, "model"),
    "audio_transcriptions": (*_CALLER, "model"),
    "vector_stores": ("project_id",),
    "code_interpreter_sessions": ("project_id",),
    "file_search_calls": (*_CALLER, "vector_store_id"),
    "web_search_calls": (*_CALLER, "model", "context_level"),
}
MEASURES: Mapping[str, tuple[str, ...]] = {
    "completions": (
        "input_tokens",
        "input_cached_tokens",
        "output_tokens",
        "input_audio_tokens",
        "output_audio_tokens",
        "num_model_requests",
    ),
    "embeddings": ("input_tokens", "num_model_requests"),
    "moderations": ("input_tokens", "num_model_requests"),
    "images": ("images", "num_model_requests"),
    "audio_speeches": ("characters", "num_model_requests"),
    "audio_transcriptions": ("seconds", "num_model_requests"),
    "vector_stores": ("usage_bytes",),
    "code_interpreter_sessions": ("num_sessions",),
    "file_search_calls": ("num_requests",),
    "web_search_calls": ("num_requests", "num_model_requests"),
}
COST_DIMENSIONS = ("project_id", "line_item")
COST_MEASURES = ("amount", "quantity")

# USD for one: input token, cached input token, output token.
_TOKEN_PRICES = {
    "gpt-5-2025-08-07": ("0.00000125", "0.000000125", "0.00001"),
    "gpt-5-mini-2025-08-07": ("0.00000025", "0.000000025", "0.000002"),
    "gpt-4.1-2025-04-14": ("0.000002", "0.0000005", "0.000008"),
    "gpt-4o-audio-preview-2025-06-03": ("0.0000025", "0.0000025", "0.00001"),
}
_MODELS = {
    "completions": tuple(_TOKEN_PRICES),
    "embeddings": ("text-embedding-3-small", "text-embedding-3-large"),
    "moderations": ("omni-moderation-latest",),
    "images": ("gpt-image-1", "dall-e-3"),
    "audio_speeches": ("tts-1", "gpt-4o-mini-tts"),
    "audio_transcriptions": ("whisper-1",),
    "web_search_calls": ("gpt-5-2025-08-07",),
}
# USD for one of the first measure, at the endpoints that don't sell tokens of a chat model. Moderations are free.
_PRICES = {
    "embeddings": "0.00000002",
    "images": "0.042",
    "audio_speeches": "0.000015",
    "audio_transcriptions": "0.0001",
    "vector_stores": "0.0000000000038805",
    "code_interpreter_sessions": "0.03",
    "file_search_calls": "0.0025",
    "web_search_calls": "0.01",
}
_TIERS = {"default": Decimal(1), "flex": Decimal("0.5"), "priority": Decimal(2)}
_BATCH = Decimal("0.5")


@dataclass(frozen=True)
class _Workload:
    """One program of the organization: who calls which endpoint with what, and how much at the busiest hour."""

    endpoint: str
    dimensions: Mapping[str, Value]
    requests: int


def lines_of(org: str, day: date, scale: int) -> Lines:
    """The lines of a day, by endpoint and `costs`; none on an empty day."""
    return {} if is_empty(org, day) else _lines_of(org, day, scale)


@lru_cache(maxsize=2048)
def _lines_of(org: str, day: date, scale: int) -> Lines:
    lines: dict[str, list[Line]] = {"costs": []}
    for number, workload in enumerate(_workloads(org, scale)):
        random = randomness(org, day, number)
        for hour, requests in busy_hours(day, workload.requests, random):
            measures = _measures(workload, requests, random)
            minute = hour * 60 + random.randrange(60)
            lines.setdefault(workload.endpoint, []).append(Line(minute, workload.dimensions, measures))
            lines["costs"].extend(_costs(org, workload, minute, measures))
    return lines


@lru_cache(maxsize=256)
def _workloads(org: str, scale: int) -> tuple[_Workload, ...]:
    random = randomness(org, "workloads")
    projects = [identifier("proj_", org, number) for number in range(random.randint(3, 5))]
    made = []
    for endpoint in DIMENSIONS:
        for number in range(scale * random.randint(*((6, 9) if endpoint == "completions" else (1, 2)))):
            project = random.choice(projects)
            dimensions = _dimensions(endpoint, number, project, random, f"{org}{project}{number % (3 * scale)}")
            made.append(_Workload(endpoint, dimensions, random.randint(20, 4000)))
    return tuple(made)


def _dimensions(endpoint: str, number: int, project: str, random: Random, caller: str) -> dict[str, Value]:
    in_playground = number % 6 == 1  # where nobody needs a key
    values: dict[str, Value] = {
        "project_id": project,
        "user_id": identifier("user-", caller),
        "api_key_id": None if in_playground else identifier("key_", caller, length=16),
        "model": random.choice(_MODELS.get(endpoint, ("",))),
        "batch": number % 6 == 2,
        "service_tier": random.choices(tuple(_TIERS), (8, 1, 1))[0],
        "size": random.choice(("1024x1024", "1792x1024")),
        "source": random.choice(("image.generation", "image.edit")),
        "vector_store_id": identifier("vs_", caller),
        "context_level": random.choice(("low", "medium", "high")),
    }
    return {name: values[name] for name in DIMENSIONS[endpoint]}


def _measures(workload: _Workload, requests: int, random: Random) -> dict[str, Decimal]:
    each = {
        "input_tokens": 0 if workload.endpoint == "vector_stores" else requests * random.randint(80, 6000),
        "num_model_requests": requests,
        "images": requests,
        "characters": requests * random.randint(20, 900),
        "seconds": requests * random.randint(5, 600),
        "usage_bytes": requests * random.randint(1_000_000, 90_000_000),
        "num_sessions": requests,
        "num_requests": requests,
        "output_tokens": requests * random.randint(10, 1500),
        "input_cached_tokens": 0,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
    }
    each["input_cached_tokens"] = each["input_tokens"] * random.randint(0, 70) // 100
    if "audio" in str(workload.dimensions.get("model")):
        each["input_audio_tokens"] = each["input_tokens"] // 3
        each["output_audio_tokens"] = each["output_tokens"] // 2
    return {name: Decimal(each[name]) for name in MEASURES[workload.endpoint]}


def _costs(org: str, workload: _Workload, minute: int, used: Mapping[str, Decimal]) -> Iterator[Line]:
    for item, quantity, price in _items(workload, used):
        measures = {"amount": quantity * price * discount(org, item), "quantity": quantity}
        yield Line(minute, {"project_id": workload.dimensions["project_id"], "line_item": item}, measures)


def _items(workload: _Workload, used: Mapping[str, Decimal]) -> Iterator[tuple[str, Decimal, Decimal]]:
    model, endpoint = workload.dimensions.get("model"), workload.endpoint
    if endpoint == "completions":
        price, cached, output = map(Decimal, _TOKEN_PRICES[str(model)])
        batch = bool(workload.dimensions["batch"])
        factor = _TIERS[str(workload.dimensions["service_tier"])] * (_BATCH if batch else 1)
        name = f"{model}{', batch' if batch else ''}"
        yield f"{name}, input", used["input_tokens"] - used["input_cached_tokens"], price * factor
        yield f"{name}, cached input", used["input_cached_tokens"], cached * factor
        yield f"{name}, output", used["output_tokens"], output * factor
    elif endpoint in _PRICES:
        quantity = used[MEASURES[endpoint][0]]
        item = f"{model}, {endpoint}" if model else endpoint.replace("_", " ")
        yield item, quantity, Decimal(_PRICES[endpoint])
