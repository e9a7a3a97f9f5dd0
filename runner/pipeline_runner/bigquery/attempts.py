"""Says whether and when a job that has failed for a passing reason is tried again."""

import time
from dataclasses import dataclass

from pipeline_runner.bigquery.failures import is_conflict, is_stale
from pipeline_runner.errors import TransientError

# How often we try a failed job before the Job does.
MOST_FAILURES = 4
# For how long a job that met others at its tables goes on trying: of publishers at once, one after the other succeeds.
CONFLICT_SECONDS = 300.0
_LONGEST_WAIT = 16.0


@dataclass
class Attempts:
    """The attempts at one job so far."""

    failures: int = 0
    conflicts: int = 0
    conflicting_since: float = 0.0

    def wait_after(self, error: TransientError) -> float:
        """Seconds until the next attempt, at the longest. Raises the error where there is to be none."""
        if is_stale(str(error)):
            raise error
        if is_conflict(str(error)):
            self.conflicts += 1
            if self.conflicts == 1:
                self.conflicting_since = time.monotonic()
            if time.monotonic() - self.conflicting_since >= CONFLICT_SECONDS:
                raise error
            return min(2.0**self.conflicts, _LONGEST_WAIT)
        self.failures += 1
        if self.failures >= MOST_FAILURES:
            raise error
        return 2.0**self.failures
