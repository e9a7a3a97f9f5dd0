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
