"""Sends one batch of rows to BigQuery, and finds the row that spoils it where BigQuery refuses the batch."""

import asyncio
import uuid
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Generic, NamedTuple

from google.api_core.exceptions import BadRequest

from pipeline_core.store.export_turn import ExportTurn
from pipeline_operator.exporter.lanes import Lane, Row

# BigQuery takes requests of at most 10 MB, and JSON in JSON grows.
MAX_BATCH_CHARACTERS = 3_000_000

# BigQuery answers statements that got into each other's way with a 400 too, told from a refusal by its words alone
# (https://cloud.google.com/bigquery/docs/troubleshoot-queries#could_not_serialize_access_to_table_due_to_concurrent_update).
_CONFLICTS = ("could not serialize access", "due to concurrent", "too many dml statements outstanding")


class Sent(NamedTuple, Generic[Row]):
    """What became of a batch: the rows that are in BigQuery now, and the one that BigQuery refused, if any, and why."""

    merged: Sequence[Row]
    refused: Row | None = None
    reason: str = ""


def within_size(lane: Lane[Row], rows: Sequence[Row]) -> Sequence[Row]:
    """The first of `rows` that fit into one request; at least one if there is any."""
    sizes = accumulate(lane.characters(row) for row in rows)
    fitting = sum(1 for _ in takewhile(lambda size: size <= MAX_BATCH_CHARACTERS, sizes))
    return rows[: max(1, fitting)]


async def send(turn: ExportTurn, lane: Lane[Row], rows: Sequence[Row]) -> Sent[Row]:
    """Merge `rows`; where BigQuery refuses them, halve until the refused one is found, and stop there.

    A row is refused when BigQuery has refused it twice by itself. That takes at most 2·log2(n) + 2 statements, also
    where every row would be refused. Raises what the target raises for other reasons, a conflict of statements among
    them; what had been merged by then is merged again by the next pass, harmlessly.
    """
    reason = await _refusal(turn, lane, rows)
    if reason is not None and len(rows) == 1:
        reason = await _refusal(turn, lane, rows)
    if reason is None:
        return Sent(rows)
    if len(rows) == 1:
        return Sent((), rows[0], reason)
    middle = len(rows) // 2
    first = await send(turn, lane, rows[:middle])
    if first.refused:
        return first
    second = await send(turn, lane, rows[middle:])
    return second._replace(merged=[*first.merged, *second.merged])


async def _refusal(turn: ExportTurn, lane: Lane[Row], rows: Sequence[Row]) -> str | None:
    """Merge `rows` in one statement; why BigQuery refused them, None if it took them."""
    job_id = f"pipelines_export_{uuid.uuid4().hex}"
    await turn.announce(job_id)
    # crash here: the next turn finds no such job and goes on
    try:
        await asyncio.to_thread(lane.merge, rows, job_id)
    except BadRequest as error:
        reason = error.message or str(error)
        if any(words in reason.lower() for words in _CONFLICTS):
            raise
        return reason
    # crash here: the next turn waits for the job's end and merges the rows as they are then, which goes only forwards
    return None
