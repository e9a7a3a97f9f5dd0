"""Looks at the slots of organizations that were refused one: those who ask at the same time share a look."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# One organization's runs that are refused in a burst are reason for one look.
_BETWEEN_LOOKS = timedelta(seconds=2)


@dataclass(slots=True)
class _Look:
    """The last look at an organization's slots: when, and whether it has freed any."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    at: datetime | None = None
    freed: bool = False

    def is_new(self, now: datetime) -> bool:
        """Whether another would find the same."""
        return self.at is not None and now < self.at + _BETWEEN_LOOKS


class Looks:
    """Calls of `look` with an organization, which returns whether it has freed a slot; `now` is the wall clock."""

    def __init__(self, look: Callable[[str], Awaitable[bool]], now: Callable[[], datetime]) -> None:
        self._look = look
        self._now = now
        self._last: dict[str, _Look] = {}
        self._tidied: datetime | None = None

    async def __call__(self, org: str) -> bool:
        """Whether the organization's last look has freed a slot; it is a new one every two seconds at most.

        Raises what `look` raises.
        """
        self._tidy()
        last = self._last.setdefault(org, _Look())
        async with last.lock:  # who comes meanwhile waits for what is found
            if not last.is_new(self._now()):
                last.freed = await self._look(org)
                last.at = self._now()
            return last.freed

    def _tidy(self) -> None:
        """Forget, now and then, what nobody waits for and says nothing any more."""
        now = self._now()
        if self._tidied is None or now >= self._tidied + _BETWEEN_LOOKS:
            self._tidied = now
            self._last = {org: last for org, last in self._last.items() if last.is_new(now) or last.lock.locked()}
