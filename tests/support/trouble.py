"""Runs through the trouble that BigQuery makes, in as many attempts as it takes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_local.simulators.bigquery_trouble import SHARES, BigQueryTrouble, Kind, trouble_before
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress

OFTEN: dict[Kind, float] = {kind: 2 * share for kind, share in SHARES.items()}
_ATTEMPTS = 5


@contextmanager
def trouble_on_the_way(seed: int) -> Iterator[BigQueryTrouble]:
    """Trouble for clients of BigQuery that are made meanwhile; others go straight to the stand-in."""
    name = "BIGQUERY_EMULATOR_HOST"
    with (
        trouble_before(os.environ[name], seed=seed, shares=OFTEN) as made,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv(name, made.url)
        yield made


async def through_attempts(document: RunDocument) -> Outcome:
    """The outcome of a run that has to end well, of which further attempts are made as long as one asks for another."""
    for _ in range(_ATTEMPTS):
        outcome, code = await execute(document, Progress())
        if code is not ExitCode.TRANSIENT:
            break
    assert (outcome.error, code) == (None, ExitCode.OK)
    return outcome
