"""Keeps the look-ups of API keys for a few seconds, unknown ids among them, within bounds."""

import time
from collections.abc import Awaitable, Callable

from pipeline_core.store.api_keys import ApiKey

# Of each kind: known keys are never pushed out by a flood of unknown ones.
_MOST = 10_000


class KeyCache:
    """Asks `get` for a key at most once in `seconds`; what was revoked meanwhile is found out then."""

    def __init__(
        self,
        get: Callable[[str], Awaitable[ApiKey | None]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        most: int = _MOST,
    ) -> None:
        self._get = get
        self._seconds = seconds
        self._clock = clock
        self._most = most
        # In the order in which they were put in, which is that in which they expire.
        self._known: dict[str, tuple[float, ApiKey]] = {}
        self._unknown: dict[str, float] = {}

    async def get(self, key_id: str) -> ApiKey | None:
        """The key with this id, None if there is none. Raises StoreUnavailableError."""
        now = self._clock()
        known = self._known.get(key_id)
        if known is not None and known[0] > now:
            return known[1]
        if self._unknown.get(key_id, now) > now:
            return None
        # Not told from the moment of the answer: what it says was true when the question was asked.
        until = now + self._seconds
        found = await self._get(key_id)
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        if found is None:
            self._unknown[key_id] = until
            _trim(self._unknown, self._most)
        else:
            self._known[key_id] = (until, found)
            _trim(self._known, self._most)
        return found


def _trim(kept: dict[str, float] | dict[str, tuple[float, ApiKey]], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
