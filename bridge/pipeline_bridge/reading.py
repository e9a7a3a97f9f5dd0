"""What the endpoints that read runs share: the caller's organization's run, its place in a history, JSON as bytes."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Path, Response
from pydantic import WithJsonSchema

from pipeline_bridge.auth import Principal, require
from pipeline_bridge.models.records import RUN_ID
from pipeline_bridge.problems import Problem
from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import RUN_ID as RUN_ID_FORM
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import HistoryCursor
from pipeline_core.store.views import RunStatus

Reader = Annotated[Principal, Depends(require(Scope.READ))]
Organization = Annotated[str, Path(description="The organization: the one of the key.", examples=["acme"])]
# What may be left out of an address or the headers; null, which the type alone would allow, they can't hold.
TEXT = WithJsonSchema({"type": "string"})
RunId = Annotated[str, Path(description="The run's id.", examples=[RUN_ID])]

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = re.compile(r"([0-9]{1,18}):(.{1,100})", re.DOTALL)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(_DAY.pattern + r"[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")


async def find_status(records: RunRecords, who: Principal, run_id: str) -> RunStatus:
    """Where the caller's run stands. Raises Problem (404) if there is none, or it is another organization's."""
    # Nothing else can be one; and PostgreSQL takes no text with a NUL in it.
    found = await records.status(run_id, who.org) if RUN_ID_FORM.fullmatch(run_id) else None
    if found is None:
        raise run_not_found(run_id)
    return found


def run_not_found(run_id: str) -> Problem:
    """The same for a run that isn't there and for one of another organization."""
    return Problem(404, "RunNotFound", f"Run not found: {run_id:.100}")


def encode(body: Any) -> bytes:
    """A body of plain values as JSON."""
    return _to_json(body).encode()


def json_answer(body: Any, headers: dict[str, str] | None = None) -> Response:
    """An answer with this body, ready to be sent."""
    return Response(encode(body), headers=headers, media_type="application/json")


def write_cursor(position: HistoryCursor) -> str:
    """A position in a history as text for addresses."""
    text = f"{(position.created_at - _EPOCH) // timedelta(microseconds=1)}:{position.run_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str) -> HistoryCursor:
    """The position that `write_cursor` wrote. Raises ValueError, which says what is expected, for any other text."""
    expected = "the next_cursor of an answer"
    try:
        found = _POSITION.fullmatch(
            base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        )
        position = found and HistoryCursor(_EPOCH + timedelta(microseconds=int(found[1])), found[2])
    except (ValueError, OverflowError):
        position = None
    if position is None or not RUN_ID_FORM.fullmatch(position.run_id) or write_cursor(position) != text:
        raise ValueError(expected)
    return position


def read_moment(text: str) -> datetime:
    """The moment, in UTC, of a day or of a time of RFC 3339. Raises ValueError, which says what is expected."""
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        moment = datetime.fromisoformat(text.upper()) if _TIME.fullmatch(text) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(
            "a day such as 2026-11-03, or a time with its zone such as 2026-11-03T06:00:00Z; a + is written %2B in an "
            "address"
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within a day of the calendar's ends, where nothing is
        return (datetime.min if moment.year == 1 else datetime.max).replace(tzinfo=UTC)
