"""What a failure of BigQuery means for the run."""

import errno

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from pipeline_runner.bigquery.failures import STALE, explained, job_error
from pipeline_runner.errors import ConfigError, DataError, ProcessorError, TransientError


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (api.Forbidden("no", errors=[{"reason": "accessDenied"}]), ConfigError, "it takes the right"),
        (api.Forbidden("slow", errors=[{"reason": "rateLimitExceeded"}]), TransientError, "slow"),
        (api.NotFound("gone"), ConfigError, "not found"),
        (api.NotFound("GET https://host/jobs/run_1_a: Not found: Job p:US.run_1_a"), TransientError, "Job"),
        (api.Unauthorized("who"), ConfigError, "permission denied"),
        (api.TooManyRequests("slow"), TransientError, "slow"),
        (api.ServiceUnavailable("away"), TransientError, "away"),
        (api.PreconditionFailed("changed"), TransientError, "changed"),
        (api.RetryError("gave up", cause=api.BadGateway("bad")), TransientError, "bad"),
        (api.BadRequest("wrong"), DataError, "wrong"),
        (api.BadRequest("Transaction is aborted due to concurrent update against table t"), TransientError, "aborted"),
        (auth.DefaultCredentialsError("none"), ConfigError, "there are no credentials"),
        (auth.RefreshError("expired"), ConfigError, "can't be used"),
        (auth.TransportError("away"), TransientError, "can't be used"),
        (auth.RefreshError(auth.TransportError("metadata server unavailable")), TransientError, "can't be used"),
        (auth.RefreshError("again", retryable=True), TransientError, "can't be used"),
        (api.from_http_status(408, "slow"), TransientError, "slow"),
        (api.BadRequest(f"Query error: {STALE} into p.d.t"), TransientError, "newer read"),
        (OSError(errno.ENOSPC, "No space left on device"), TransientError, "disk for temporary files is full"),
        (requests.exceptions.ConnectionError("refused"), TransientError, "can't be reached"),
    ],
)
def test_errors_of_the_client(error: Exception, kind: type[ProcessorError], text: str) -> None:
    with pytest.raises(kind, match=text) as raised, explained("copying", right="the right"):
        raise error
    assert type(raised.value) is kind
    assert str(raised.value).startswith("copying: ")


@pytest.mark.parametrize(
    ("reason", "message", "kind"),
    [
        ("backendError", "away", TransientError),
        ("quotaExceeded", "too much", TransientError),
        ("invalidQuery", "Could not serialize access to table t due to concurrent update", TransientError),
        ("invalidQuery", f"{STALE} into t", TransientError),
        ("accessDenied", "no", ConfigError),
        ("bytesBilledLimitExceeded", "too large", ConfigError),
        ("invalidQuery", "Invalid NUMERIC value: x", DataError),
        ("", "", DataError),
    ],
)
def test_errors_of_jobs(reason: str, message: str, kind: type[ProcessorError]) -> None:
    assert type(job_error("loading", {"reason": reason, "message": message})) is kind


def test_long_messages_are_cut_to_their_first_paragraph() -> None:
    error = job_error("loading", {"reason": "invalid", "message": "x" * 5_000 + "\n\nLocation: US"})
    assert len(str(error)) < 1_100
    assert "Location" not in str(error)


def test_defects_pass() -> None:
    for defect in (KeyError("x"), PermissionError(errno.EACCES, "no")):
        with pytest.raises(type(defect)), explained("copying"):
            raise defect
