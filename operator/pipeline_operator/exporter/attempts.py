"""What became of the last attempts at something, what is said of that, and when the next one is due."""

import random
from collections.abc import Callable

import structlog
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from requests.exceptions import RequestException

from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.exporter.metrics import ExporterMetrics

LONGEST_BACKOFF = 60.0

_log = structlog.get_logger(__name__)


class Attempts:
    """Attempts to export to one table, or, without `table`, to have what all of them need.

    The first pause after a failure is about twice `poll`, each further one twice as long, in seconds.
    """

    def __init__(
        self, poll: float, metrics: ExporterMetrics, clock: Callable[[], float], table: str | None = None
    ) -> None:
        self._poll = poll
        self._metrics = metrics
        self._clock = clock
        self._table = table
        self._log = _log.bind(table=table) if table else _log
        self._failures = 0
        self._next_at = clock()
        self.trouble: str | None = None

    def are_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._clock() >= self._next_at

    def failed(self, error: Exception) -> float:
        """The last one did; returns the seconds until the next. The same error is logged once."""
        cause = _cause(error)
        trouble = ": ".join(filter(None, (cause, self._table, str(error))))
        if trouble != self.trouble:
            self._log.warning(
                "export failed, will be tried again",
                cause=cause,
                error=str(error),
                exc_info=error if cause == "internal" else None,
            )
        self.trouble = trouble
        self._failures += 1
        self._metrics.failures.labels(cause).inc()
        longest = min(LONGEST_BACKOFF, self._poll * 2 ** min(self._failures, 10))
        pause = random.uniform(longest / 2, longest)  # noqa: S311 - jitter
        self._next_at = self._clock() + pause
        return pause

    def worked(self) -> None:
        """The last one did."""
        if self._failures:
            self._log.info("export works again", after=self.trouble)
        self.trouble, self._failures = None, 0


def _cause(error: Exception) -> str:
    if isinstance(error, StoreUnavailableError):
        return "postgresql"
    if isinstance(error, GoogleAPIError | GoogleAuthError | RequestException | TimeoutError):
        return "bigquery"
    return "internal"
