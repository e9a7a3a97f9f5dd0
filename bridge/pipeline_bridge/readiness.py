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
    """What is wrong, as of the last look: the parts that are away by name, for anybody; why is for the log alone."""

    def __init__(self, parts: "Parts") -> None:
        self._parts = parts
        self._wrong: str | None = "starting"
        self._why: dict[str, str] = {}

    def wrong(self) -> str | None:
        """What is wrong in a word or two; None while requests can be answered. Any thread can ask."""
        return "stopping" if self._parts.stopping.is_set() else self._wrong

    async def look_forever(self, every: float = _LOOK_SECONDS) -> None:
        """Look every few seconds."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Ask PostgreSQL, the API server and the catalog."""
        try:
            why = await self._ask()
        except Exception as error:
            _log.exception("can't tell whether this process is ready", exc_info=error)
            why = {"unknown": "the process can't tell whether it is ready"}
        wrong = ", ".join(why) or None
        if wrong is not None and why != self._why:
            _log.warning("not ready", why="; ".join(why.values()))
        elif wrong is None and self._wrong is not None:
            _log.info("ready")
        self._wrong, self._why = wrong, why
        metrics.READY.set(wrong is None)

    async def _ask(self) -> dict[str, str]:
        """Why each part is away that is."""
        store, kubernetes = await asyncio.gather(self._ask_store(), self._ask_kubernetes())
        found = {"catalog": self._ask_catalog(), "store": store, "kubernetes": kubernetes}
        return {part: why for part, why in found.items() if why is not None}

    def _ask_catalog(self) -> str | None:
        try:
            self._parts.catalog.current()
        except ConfigInvalidError as error:
            return f"the catalog can't be used: {error}"
        return None

    async def _ask_store(self) -> str | None:
        try:
            await self._parts.keys.get(_NO_KEY)
        except StoreUnavailableError as error:
            return str(error)
        return None

    async def _ask_kubernetes(self) -> str | None:
        parts = self._parts
        try:
            await parts.cluster.get_run(parts.settings.home_namespace, _NO_RUN)
        except KubeUnavailableError as error:
            return f"the Kubernetes API can't be reached: {error}"
        except KubeError:
            # An answer. That this namespace was deleted with the rights in it is of no concern to those whose objects
            # are in others; and whoever is refused something is told so.
            return None
        return None
