"""The faults of single calls to the API server, and what is away: drawn from the seed while faults are on."""

from random import Random
from typing import Any, ClassVar


class CallFaults:
    """Draws from a stream of its own, so that a fault more doesn't change what runners and users do."""

    # What the server answers instead of doing what it is asked for, and the methods that may meet a conflict.
    refusals: ClassVar[tuple[str, ...]]
    conflicting: ClassVar[frozenset[str]]

    def __init__(self, world: Any, dials: Any, random: Random) -> None:
        self._world = world
        self._dials = dials
        self._random = random
        self.on = not dials.calm
        self.api_away = False
        self.store_away = False

    def of_call(self, method: str) -> str | None:
        """What happens to this call to the API server."""
        if self.api_away:
            return "lost before"
        if not self.on:
            return None
        dials, drawn = self._dials, self._random.random()
        each = dials.api_refused / (len(self.refusals) + 1)
        faults = (
            ("slow", dials.api_slow),
            ("lost before", dials.api_lost_before),
            ("lost after", dials.api_lost_after),
            *((refusal, each) for refusal in self.refusals),
            ("409", each if method in self.conflicting else 0.0),
        )
        for fault, probability in faults:
            if drawn < probability:
                return fault
            drawn -= probability
        return None
