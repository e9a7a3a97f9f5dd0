"""Anthropic's usage and cost reports of the Admin API: parameters, refusals and answers as the service has them."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pipeline_local.simulators import numbers
from pipeline_local.simulators.answers import Answer, Request
from pipeline_local.simulators.anthropic_data import COST_DIMENSIONS, COST_MEASURES, DESCRIBED, DIMENSIONS, MEASURES
from pipeline_local.simulators.buckets import Grouping, Result
from pipeline_local.simulators.pages import LIMITS, Asked, Page, Span, page
from pipeline_local.simulators.query import BadRequest, Query, rfc_3339
from pipeline_local.simulators.seeds import identifier

ADMIN_KEY = re.compile(r"sk-ant-admin01-[A-Za-z0-9_-]{4,}")
VERSION = "2023-06-01"
_USAGE, _COSTS = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
_GROUPS_AT_MOST = 5
_COST_LIMITS = {"1d": LIMITS["1d"]}
_SPAN = Span("starting_at", "ending_at", rfc_3339)
_SINGLE = (_SPAN.start, _SPAN.end, "bucket_width", "limit", "page")
_FILTERS = {
    "api_key_ids": "api_key_id",
    "workspace_ids": "workspace_id",
    "models": "model",
    "service_tiers": "service_tier",
    "context_window": "context_window",
    "inference_geos": "inference_geo",
}
# Of each measure: its field, and the field within that or "".
_NESTED = {name: (name.partition(".")[0], name.partition(".")[2]) for name in MEASURES}
_UNDOCUMENTED = {"speed": "standard", "thinking_tokens": 11, "billing": {"plan": "scale", "tags": ["a"]}}


def organization_key(headers: Mapping[str, str]) -> str | None:
    """The admin key that a request carries; None without one of the right shape."""
    key = headers.get("x-api-key", "")
    return key if ADMIN_KEY.fullmatch(key) else None


def answer(request: Request) -> Answer:
    """The answer to a GET request below the base URL."""
    key = organization_key(request.headers)
    if key is None:
        told = "invalid x-api-key" if request.headers.get("x-api-key") else "x-api-key header is required"
        return _refusal(401, "authentication_error", told, request)
    version = request.headers.get("anthropic-version")
    if version != VERSION:
        told = "header is required" if version is None else f'"{version}" is not a valid version'
        return _refusal(400, "invalid_request_error", f"anthropic-version: {told}", request)
    if request.path not in (_USAGE, _COSTS):
        return _refusal(404, "not_found_error", "Not found", request)
    try:
        asked = _costs(request) if request.path == _COSTS else _usage(request)
        table = "costs" if request.path == _COSTS else "messages"
        found = page(asked, request.world.lines_of("anthropic", key, table), request.now, request.fault)
    except BadRequest as error:
        return _refusal(400, "invalid_request_error", error.message, request)
    return Answer(200, _document(found, table, request), _identity(request))


def _usage(request: Request) -> Asked:
    query = Query(request.pairs, single=_SINGLE, repeated=("group_by", *_FILTERS), bare=False)
    by = query.choices("group_by", DIMENSIONS, _GROUPS_AT_MOST)
    wanted = {dimension: query.many(name) for name, dimension in _FILTERS.items()}
    return _SPAN.asked(request, query, Grouping(DIMENSIONS, frozenset(by), MEASURES), wanted)


def _costs(request: Request) -> Asked:
    query = Query(request.pairs, single=_SINGLE, repeated=("group_by",), bare=False)
    by = set(query.choices("group_by", ("workspace_id", "description")))
    if "description" in by:
        by.update(DESCRIBED)
    return _SPAN.asked(request, query, Grouping(COST_DIMENSIONS, frozenset(by), COST_MEASURES), {}, _COST_LIMITS)


def _document(found: Page, table: str, request: Request) -> dict[str, Any]:
    write = _cost if table == "costs" else _used
    extra = _UNDOCUMENTED if request.fault == "unknown-fields" else {}
    data = [
        {
            "starting_at": _written(bucket.start),
            "ending_at": _written(bucket.end),
            "results": [write(result, request) | extra for result in bucket.results],
        }
        for bucket in found.buckets
    ]
    return {"data": data, "has_more": found.has_more, "next_page": found.next_page}


def _used(result: Result, request: Request) -> dict[str, Any]:
    made: dict[str, Any] = dict(result.dimensions)
    for name, value in result.measures.items():
        outer, inner = _NESTED[name]
        if inner:
            made.setdefault(outer, {})[inner] = int(value)
        else:
            made[outer] = int(value)
    return made


def _cost(result: Result, request: Request) -> dict[str, Any]:
    """Cents, which nothing in the answer says."""
    cents: Decimal = result.measures["cents"]
    return {**result.dimensions, "amount": numbers.amount(cents, request.plan.amounts or "strings"), "currency": "USD"}


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _identity(request: Request) -> dict[str, str]:
    return {"request-id": identifier("req_", request.path, *request.pairs, request.now)}


def _refusal(status: int, kind: str, message: str, request: Request) -> Answer:
    identity = _identity(request)
    document = {"type": "error", "error": {"type": kind, "message": message}, "request_id": identity["request-id"]}
    return Answer(status, document, identity)
