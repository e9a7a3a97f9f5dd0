"""OpenAI's organization usage and costs endpoints: parameters, refusals and answers as the service has them."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline_local.simulators import numbers
from pipeline_local.simulators.answers import Answer, Request
from pipeline_local.simulators.buckets import Grouping, Result
from pipeline_local.simulators.openai_data import COST_DIMENSIONS, COST_MEASURES, DIMENSIONS, MEASURES
from pipeline_local.simulators.pages import Asked, Page, Span, page
from pipeline_local.simulators.query import BadRequest, Query, unix_time

ADMIN_KEY = re.compile(r"sk-admin-[A-Za-z0-9_-]{4,}")
_USAGE, _COSTS = "/v1/organization/usage/", "/v1/organization/costs"
_COST_LIMITS = {"1d": (7, 180)}
_SPAN = Span("start_time", "end_time", unix_time)
_SINGLE = (_SPAN.start, _SPAN.end, "bucket_width", "limit", "page")
# Of a filter: the dimension that it looks at.
_FILTERS = {
    "project_ids": "project_id",
    "user_ids": "user_id",
    "api_key_ids": "api_key_id",
    "models": "model",
    "sizes": "size",
    "sources": "source",
    "vector_store_ids": "vector_store_id",
    "context_levels": "context_level",
}
# Results are named after their endpoint, but for two.
_NAMES = {"file_search_calls": "file_searches", "web_search_calls": "web_searches"}
_UNDOCUMENTED = {"api_source": "unlabeled", "input_uncached_tokens": 7, "billing": {"plan": "scale", "tags": ["a"]}}


def organization_key(headers: Mapping[str, str]) -> str | None:
    """The admin key that a request carries; None without one of the right shape."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" and ADMIN_KEY.fullmatch(key) else None


def answer(request: Request) -> Answer:
    """The answer to a GET request below the base URL."""
    key = organization_key(request.headers)
    if key is None:
        return _unauthorized(request.headers)
    endpoint = request.path.removeprefix(_USAGE)
    if request.path != _COSTS and (endpoint == request.path or endpoint not in DIMENSIONS):
        return _refusal(404, f"Invalid URL (GET {request.path})", "invalid_request_error", None, None)
    try:
        asked = _costs(request) if request.path == _COSTS else _usage(request, endpoint)
        table = "costs" if request.path == _COSTS else endpoint
        found = page(asked, request.world.lines_of("openai", key, table), request.now, request.fault)
    except BadRequest as error:
        return _refusal(400, error.message, "invalid_request_error", error.param, error.code)
    return Answer(200, _document(found, table, request))


def _usage(request: Request, endpoint: str) -> Asked:
    dimensions = DIMENSIONS[endpoint]
    filters = {name: dimension for name, dimension in _FILTERS.items() if dimension in dimensions}
    single = (*_SINGLE, "batch") if "batch" in dimensions else _SINGLE
    query = Query(request.pairs, single=single, repeated=("group_by", *filters), bare=True)
    wanted = {dimension: query.many(name) for name, dimension in filters.items()}
    if query.text("batch") is not None:
        wanted["batch"] = [query.choice("batch", ("true", "false"), "")]
    grouping = Grouping(dimensions, frozenset(query.choices("group_by", dimensions)), MEASURES[endpoint])
    return _SPAN.asked(request, query, grouping, wanted)


def _costs(request: Request) -> Asked:
    repeated = ("group_by", "project_ids", "line_items")
    query = Query(request.pairs, single=_SINGLE, repeated=repeated, bare=True)
    # api_key_id is in the published specification, and refused by the service
    grouping = Grouping(COST_DIMENSIONS, frozenset(query.choices("group_by", COST_DIMENSIONS)), COST_MEASURES)
    wanted = {"project_id": query.many("project_ids"), "line_item": query.many("line_items")}
    return _SPAN.asked(request, query, grouping, wanted, _COST_LIMITS)


def _document(found: Page, table: str, request: Request) -> dict[str, Any]:
    data = [
        {
            "object": "bucket",
            "start_time": int(bucket.start.timestamp()),
            "end_time": int(bucket.end.timestamp()),
            "results": [_result(result, table, request) for result in bucket.results],
        }
        for bucket in found.buckets
    ]
    return {"object": "page", "data": data, "has_more": found.has_more, "next_page": found.next_page}


def _result(result: Result, table: str, request: Request) -> dict[str, Any]:
    if table == "costs":
        by_item = result.dimensions["line_item"] is not None
        value = numbers.amount(result.measures["amount"], request.plan.amounts or "mixed")
        quantity = numbers.Literal(numbers.plain(result.measures["quantity"])) if by_item else None
        made: dict[str, Any] = {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}}
        made |= {**result.dimensions, "quantity": quantity}
    else:
        made = {"object": f"organization.usage.{_NAMES.get(table, table)}.result"}
        made |= {name: int(value) for name, value in result.measures.items()} | dict(result.dimensions)
    return made | _UNDOCUMENTED if request.fault == "unknown-fields" else made


def _unauthorized(headers: Mapping[str, str]) -> Answer:
    _, _, key = headers.get("authorization", "").partition(" ")
    if not key:
        message = "You didn't provide an API key: expected an Authorization header with Bearer and the key."
        return _refusal(401, message, "invalid_request_error", None, None)
    # the service shows an end of the key that it refuses, and so does this
    shown = f"{key[:8]}{'*' * 8}{key[-4:]}"
    return _refusal(401, f"Incorrect API key provided: {shown}.", "invalid_request_error", None, "invalid_api_key")


def _refusal(status: int, message: str, kind: str, param: str | None, code: str | None) -> Answer:
    return Answer(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})
