"""What an organization used and spent at Anthropic on a day: made from seeds, exact, the same whenever it is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from random import Random

from pipeline_local.simulators.seeds import Line, Lines, Value, busy_hours, discount, identifier, is_empty, randomness

DIMENSIONS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")
MEASURES = (
    "uncached_input_tokens",
    "cache_read_input_tokens",
    "cache_creation.ephemeral_1h_input_tokens",
    "cache_creation.ephemeral_5m_input_tokens",
    "output_tokens",
    "server_tool_use.web_search_requests",
)
# `description` is what costs are grouped by; the others are read from it, and null without it.
DESCRIBED = ("description", "cost_type", "token_type", "model", "service_tier", "context_window", "inference_geo")
COST_DIMENSIONS = ("workspace_id", *DESCRIBED)
COST_MEASURES = ("cents",)

_LONG = "200k-1M"
# Name and USD for a million: input tokens, output tokens.
_MODELS = {
    "claude-opus-4-5-20251101": ("Claude Opus 4.5", "5", "25"),
    "claude-sonnet-4-5-20250929": ("Claude Sonnet 4.5", "3", "15"),
    "claude-haiku-4-5-20251001": ("Claude Haiku 4.5", "1", "5"),
}
# Of each kind of token: its wording, and its price as a multiple of that of an input token, or None for output.
_KINDS = {
    "uncached_input_tokens": ("Input Tokens", Decimal(1)),
    "cache_read_input_tokens": ("Input Tokens, Cache Read", Decimal("0.1")),
    "cache_creation.ephemeral_1h_input_tokens": ("Input Tokens, Cache Write 1h", Decimal(2)),
    "cache_creation.ephemeral_5m_input_tokens": ("Input Tokens, Cache Write 5m", Decimal("1.25")),
    "output_tokens": ("Output Tokens", None),
}
_TIERS = ("standard", "batch", "standard", "standard", "priority", "standard", "standard")
_CENTS_PER_MILLION = Decimal("0.0001")
_BATCH = Decimal("0.5")
_PER_SEARCH = Decimal(1)
_PER_CONTAINER_SECOND = Decimal("0.00138888888888889")  # 0.05 USD an hour, with the decimals that a division leaves


@dataclass(frozen=True)
class _Workload:
    dimensions: Mapping[str, Value]
    requests: int


def lines_of(org: str, day: date, scale: int) -> Lines:
    """The lines of a day, of `messages` and `costs`; none on an empty day."""
    return {} if is_empty(org, day) else _lines_of(org, day, scale)


@lru_cache(maxsize=2048)
def _lines_of(org: str, day: date, scale: int) -> Lines:
    usage: list[Line] = []
    costs: list[Line] = []
    for number, workload in enumerate(_workloads(org, scale)):
        random = randomness(org, day, number)
        for hour, requests in busy_hours(day, workload.requests, random):
            measures = _measures(requests, random)
            line = Line(hour * 60 + random.randrange(60), workload.dimensions, measures)
            usage.append(line)
            costs.extend(_costs(org, line))
    # Containers that ran code are billed to the default workspace, and appear in no usage.
    seconds = randomness(org, day, "code").randint(1, 200_000)
    costs.append(_cost(11 * 60, None, "Code Execution Usage", "code_execution", seconds * _PER_CONTAINER_SECOND))
    return {"messages": usage, "costs": costs}


@lru_cache(maxsize=256)
def _workloads(org: str, scale: int) -> tuple[_Workload, ...]:
    random = randomness(org, "workloads")
    workspaces = [None, *(identifier("wrkspc_", org, number) for number in range(random.randint(2, 4)))]
    made = []
    for number in range(scale * random.randint(8, 12)):
        workspace = workspaces[number % len(workspaces)]
        model = random.choice(tuple(_MODELS))
        caller = (org, workspace, number % (4 * scale))
        dimensions: dict[str, Value] = {
            # what people do in the console has no key
            "api_key_id": None if number % 5 == 3 else identifier("apikey_", *caller),
            "workspace_id": workspace,
            "model": model,
            "service_tier": _TIERS[number % len(_TIERS)],
            "context_window": _LONG if "sonnet" in model and random.random() < 0.3 else "0-200k",
            "inference_geo": random.choices(("global", "us", "not_available"), (6, 2, 2))[0],
        }
        made.append(_Workload(dimensions, random.randint(20, 3000)))
    return tuple(made)


def _measures(requests: int, random: Random) -> dict[str, Decimal]:
    each = (
        requests * random.randint(50, 4000),
        requests * random.randint(0, 9000),
        requests * random.choice((0, 0, random.randint(1, 700))),
        requests * random.randint(0, 900),
        requests * random.randint(20, 1800),
        requests * random.choice((0, 0, 0, 1)),
    )
    return {name: Decimal(value) for name, value in zip(MEASURES, each, strict=True)}


def _costs(org: str, usage: Line) -> Iterator[Line]:
    """What the usage of a line costs; nothing on the priority tier, which is paid by commitment."""
    used, dimensions = usage.measures, usage.dimensions
    if dimensions["service_tier"] == "priority":
        return
    workspace, model = dimensions["workspace_id"], str(dimensions["model"])
    name, price_in, price_out = _MODELS[model]
    tier, window, geo = (dimensions[field] for field in ("service_tier", "context_window", "inference_geo"))
    details = {"model": model, "service_tier": tier, "context_window": window, "inference_geo": geo}
    factor = (_BATCH if tier == "batch" else 1) * (2 if window == _LONG else 1) * discount(org, model)
    suffix = "".join((", Batch" if tier == "batch" else "", ", Long Context" if window == _LONG else "", f", {geo}"))
    for kind, (wording, multiple) in _KINDS.items():
        price = Decimal(price_out) if multiple is None else Decimal(price_in) * multiple
        if cents := used[kind] * price * _CENTS_PER_MILLION * factor:
            description = f"{name} Usage - {wording}{suffix}"
            yield _cost(usage.minute, workspace, description, "tokens", cents, token_type=kind, **details)
    if searches := used["server_tool_use.web_search_requests"]:
        yield _cost(usage.minute, workspace, "Web Search Usage", "web_search", searches * _PER_SEARCH)


def _cost(minute: int, workspace: Value, description: str, cost_type: str, cents: Decimal, **details: Value) -> Line:
    described = {name: details.get(name) for name in DESCRIBED}
    dimensions = {**described, "workspace_id": workspace, "description": description, "cost_type": cost_type}
    return Line(minute, dimensions, {"cents": cents})
