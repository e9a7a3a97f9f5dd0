"""GET /pipelines/history/{org}: an organization's runs, newest first, page by page."""

from datetime import datetime
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator, WithJsonSchema

from pipeline_bridge.models.records import RunHistory, Word, run_body
from pipeline_bridge.parts import parts
from pipeline_bridge.problems import responses
from pipeline_bridge.reading import TEXT, Organization, Reader, json_answer, read_cursor, read_moment, write_cursor
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_core.identifiers import NAME
from pipeline_core.store.runs import HistoryCursor, phase_of
from pipeline_core.store.views import HistoryFilter

router = APIRouter(tags=["pipelines"])

_WORDS = WithJsonSchema({"type": "array", "items": {"type": "string", "enum": list(get_args(Word))}})
_Moment = Annotated[
    datetime | None,
    BeforeValidator(read_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
]
_LINK = {
    "Link": {
        "description": "The next page's address, as `<?…>; rel=\"next\"` (RFC 8288), relative to this one's; absent on "
        "the last page.",
        "schema": {"type": "string"},
    }
}


@router.get(
    "/pipelines/history/{org}",
    summary="List runs",
    description="The organization's runs, newest first. A page that isn't the last has a `next_cursor`: with it as "
    "`cursor`, and the same filters, comes the next one. Each run that was there at the first page is on exactly one "
    "page, whatever is started meanwhile. Needs the scope `read`.",
    response_model=RunHistory,
    responses={
        200: {"description": "A page.", "headers": _LINK},
        **responses(
            401, 403, 422, 429, 503,
            reasons=(
                "NotAuthenticated", "ScopeMissing", "OtherOrganization", "RequestInvalid", "RateLimited",
                "StoreUnavailable",
            ),
        ),
    },
)  # fmt: skip
async def get_history(
    org: Organization,
    who: Reader,
    request: Request,
    provider: Annotated[str | None, TEXT, Query(description="Only runs of this provider.", examples=["gcp"])] = None,
    status: Annotated[
        list[Word] | None, _WORDS, Query(description="Only runs with this status; can be repeated.")
    ] = None,
    since: Annotated[
        _Moment,
        Query(
            description="Only runs that were created then or later: a day of UTC, or a time.", examples=["2026-11-01"]
        ),
    ] = None,
    until: Annotated[
        _Moment,
        Query(description="Only runs that were created before: a day of UTC, or a time.", examples=["2026-12-01"]),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Runs on a page, at most.")] = 50,
    cursor: Annotated[str | None, TEXT, Query(description="The `next_cursor` of the page before.")] = None,
) -> Response:
    """A page, and where the next one begins."""
    if since is not None and until is not None and since > until:
        given = request.query_params["until"]
        raise invalid_fields([{"field": "until", "value": given, "expected": "a moment that isn't before `since`"}])
    provider = provider or None  # `provider=` is what a form without a choice sends
    wanted = HistoryFilter(provider=provider, phases=frozenset(map(phase_of, status or ())), since=since, until=until)
    # One more than is shown tells whether there is another page.
    before = None if cursor is None else _position(cursor)
    if provider is not None and not NAME.fullmatch(provider):
        return json_answer({"runs": []})  # of none; and PostgreSQL takes no text with a NUL in it
    found = await parts(request).records.history(who.org, wanted, limit=limit + 1, before=before)
    body: dict[str, object] = {"runs": [run_body(run) for run in found[:limit]]}
    if len(found) <= limit:
        return json_answer(body)
    body["next_cursor"] = following = write_cursor(found[limit - 1].cursor)
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return json_answer(body, {"Link": f'<?{urlencode([*query, ("cursor", following)])}>; rel="next"'})


def _position(cursor: str) -> HistoryCursor:
    try:
        return read_cursor(cursor)
    except ValueError as error:
        raise invalid_fields([{"field": "cursor", "value": cursor, "expected": str(error)}]) from None
