"""The phases of a run: `Pending` on objects, `pending` in tables and over HTTP."""

from enum import StrEnum


class Phase(StrEnum):
    """Where a run stands; the order is that of a run's life, and a run never goes back."""

    PENDING = "Pending"
    VALIDATING = "Validating"
    RUNNING = "Running"
    PROCESSING = "Processing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run is over."""
        return self in _FINAL

    @property
    def rank(self) -> int:
        """Position in the run's life; the three final phases share the last."""
        return 4 if self.is_final else _ORDER.index(self)

    @property
    def word(self) -> str:
        """The word of the HTTP API and the tables: lower case."""
        return self.value.lower()


_ORDER = (Phase.PENDING, Phase.VALIDATING, Phase.RUNNING, Phase.PROCESSING)
_FINAL = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})
