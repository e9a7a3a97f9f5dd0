"""Sends one batch of runs to BigQuery, and finds the row that spoils it where BigQuery refuses the batch."""

import asyncio
import json
import uuid
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from typing import NamedTuple, Protocol

from google.api_core.exceptions import BadRequest

from pipeline_core.store.outbox import ExportTurn
from pipeline_core.store.runs import StoredRun

# BigQuery takes requests of at most 10 MB, and JSON in JSON grows.
MAX_BATCH_CHARACTERS = 3_000_000

# BigQuery answers statements that got into each other's way with a 400 too, told from a refusal by its words alone
# (https://cloud.google.com/bigquery/docs/troubleshoot-queries#could_not_serialize_access_to_table_due_to_concurrent_update).
_CONFLICTS = ("could not serialize access", "due to concurrent", "too many dml statements outstanding")


class Target(Protocol):
    """Where runs go; its methods block."""

    def ensure(self) -> None:
        """Make what is missing."""

    def merge_runs(self, runs: Sequence[StoredRun], job_id: str) -> None:
        """Bring the rows of these runs to their present state."""

    def settle(self, job_id: str) -> None:
        """Return when this statement isn't running."""


class Sent(NamedTuple):
    """What became of a batch: the runs that are in BigQuery now, and the one that BigQuery refused, if any, and why."""

    merged: Sequence[StoredRun]
    refused: StoredRun | None = None
    reason: str = ""


def within_size(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """The first of `runs` that fit into one request; at least one if there is any."""
    runs = list(runs)
    sizes = accumulate(len(json.dumps(dict(run.parameters))) + len(run.error_message or "") + 1000 for run in runs)
    fitting = sum(1 for _ in takewhile(lambda size: size <= MAX_BATCH_CHARACTERS, sizes))
    return runs[: max(1, fitting)]


async def send(turn: ExportTurn, target: Target, runs: Sequence[StoredRun]) -> Sent:
    """Merge `runs`; where BigQuery refuses them, halve until the refused one is found, and stop there.

    A row is refused when BigQuery has refused it twice by itself. That takes at most 2·log2(n) + 2 statements, also
    where every row would be refused. Raises what the target raises for other reasons, a conflict of statements among
    them; what had been merged by then is merged again by the next pass, harmlessly.
    """
    reason = await _refusal(turn, target, runs)
    if reason is not None and len(runs) == 1:
        reason = await _refusal(turn, target, runs)
    if reason is None:
        return Sent(runs)
    if len(runs) == 1:
        return Sent((), runs[0], reason)
    middle = len(runs) // 2
    first = await send(turn, target, runs[:middle])
    if first.refused:
        return first
    second = await send(turn, target, runs[middle:])
    return second._replace(merged=[*first.merged, *second.merged])


async def _refusal(turn: ExportTurn, target: Target, runs: Sequence[StoredRun]) -> str | None:
    """Merge `runs` in one statement; why BigQuery refused them, None if it took them."""
    job_id = f"pipelines_export_{uuid.uuid4().hex}"
    await turn.announce(job_id)
    # crash here: the next turn finds no such job and goes on
    try:
        await asyncio.to_thread(target.merge_runs, runs, job_id)
    except BadRequest as error:
        reason = error.message or str(error)
        if any(words in reason.lower() for words in _CONFLICTS):
            raise
        return reason
    # crash here: the next turn waits for the job's end and merges the same rows again, which changes nothing
    return None
