"""What can go wrong with the store, apart from defects."""

from pipeline_core.errors import PipelinesError


class StoreUnavailableError(PipelinesError):
    """PostgreSQL can't be reached, is shutting down, or took too long: trying again later may work."""

    reason = "StoreUnavailable"


class RunIdTakenError(PipelinesError):
    """Another object or organization already has this run id; whose it is stays unsaid."""

    reason = "RunIdTaken"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run id {run_id} belongs to another run")


class RunNotRecordedError(PipelinesError):
    """No record has this run id: it was never begun, or its retention is over."""

    reason = "RunNotRecorded"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has no record")


class IdempotencyKeyReusedError(PipelinesError):
    """The idempotency key stands for another request of this organization."""

    reason = "IdempotencyKeyReused"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r:.100} was used for another request in the last 24 hours: expected a new key for a "
            "new request, or the same request again",
            title="Idempotency-Key was used for another request",
        )


class ApiKeyNotFoundError(PipelinesError):
    """No API key has this id."""

    reason = "ApiKeyNotFound"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key not found: {key_id}")


class ApiKeyEndedError(PipelinesError):
    """The API key is revoked, expired or replaced, so that there is nothing to go on with."""

    reason = "ApiKeyEnded"
