"""Says whether this process can do its work; looked at in the background, so that a probe costs nothing."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from pipeline_bridge import metrics
from pipeline_core.errors import ConfigInvalidError
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from pipeline_bridge.parts import Parts

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 3.0
# What a look asks for: neither exists, which is an answer too.
_NO_KEY = "0" * 16
_NO_RUN = "pipelines-bridge-readiness"


class Readiness:
    """What is wrong, as of the last look."""

    def __init__(self, parts: "Parts") -> None:
        self._parts = parts
        self._wrong: str | None = "nothing has been looked at yet"

    def wrong(self) -> str | None:
        """What is wrong in a sentence; None while requests can be answered."""
        return "the process is stopping" if self._parts.stopping.is_set() else self._wrong

    async def look_forever(self, every: float = _LOOK_SECONDS) -> None:
        """Look every few seconds."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Ask PostgreSQL, the API server and the catalog."""
        try:
            wrong = await self._ask()
        except Exception as error:
            _log.exception("can't tell whether this process is ready", exc_info=error)
            wrong = "the process can't tell whether it is ready"
        if wrong != self._wrong:
            _log.info("ready") if wrong is None else _log.warning("not ready", why=wrong)
        self._wrong = wrong
        metrics.READY.set(wrong is None)

    async def _ask(self) -> str | None:
        parts = self._parts
        try:
            parts.catalog.current()
        except ConfigInvalidError as error:
            return f"the catalog can't be used: {error}"
        try:
            await parts.keys.get(_NO_KEY)
        except StoreUnavailableError as error:
            return str(error)
        try:
            await parts.cluster.get_run(parts.settings.home_namespace, _NO_RUN)
        except KubeUnavailableError as error:
            return f"the Kubernetes API can't be reached: {error}"
        except KubeError as error:
            return f"the Kubernetes API refuses the bridge: {error.message}"
        return None
