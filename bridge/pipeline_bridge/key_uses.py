"""Notes which keys were used, and writes it down once a minute: nothing waits for it, and nothing fails with it."""

import asyncio
from collections.abc import Collection
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)

_EVERY_SECONDS = 60.0


class UsedKeys(Protocol):
    """What this needs of `ApiKeys`."""

    async def used(self, key_ids: Collection[str]) -> None: ...


class KeyUses:
    """The keys used since the last time; as many as there are keys at most."""

    def __init__(self, keys: UsedKeys) -> None:
        self._keys = keys
        self._noted: set[str] = set()

    def note(self, key_id: str) -> None:
        """This key was used just now."""
        self._noted.add(key_id)

    async def write_forever(self, every: float = _EVERY_SECONDS) -> None:
        """Write once in so many seconds, and a last time when cancelled."""
        try:
            while True:
                await asyncio.sleep(every)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write what was noted since the last time; what can't be written is lost."""
        noted, self._noted = self._noted, set()
        if not noted:
            return
        try:
            await self._keys.used(noted)
        except Exception as error:  # the time of a key's last use isn't worth an outage
            _log.warning("the use of keys isn't recorded", keys=len(noted), error=str(error))
