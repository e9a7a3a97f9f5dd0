"""Takes progress messages from runners: `POST /progress`.

A message moves a number, or says that the run's rows are published. The token is a capability of one run (an HMAC of
its id), and a message counts only if it names a pod that the operator knows to be the run's and to be alive: so one
that is lost, late or repeated does no harm, and only the runner can make one. The termination message stays the truth.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_core.lifecycle.observed import Progress, Published
from pipeline_operator import metrics

_BODY_MAX = 4096
_DAY = 86_400

Message = Progress | Published


class ProgressMessage(BaseModel):
    """The body of the request. `published_after`: how many seconds the runner had run when its rows were published."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = Field(max_length=64)
    pod_uid: str = Field(max_length=64)
    stage: Literal["extract", "transform", "load"]
    progress: int = Field(ge=0, le=100)
    records: int = Field(ge=0, le=2**63 - 1)
    published_after: float | None = Field(default=None, ge=0, le=30 * _DAY, allow_inf_nan=False)


def progress_token(key: str, run_id: str) -> str:
    """The token of one run, hexadecimal."""
    return hmac.new(key.encode(), run_id.encode(), hashlib.sha256).hexdigest()


class ProgressReceiver:
    """`accept` stores a message and returns whether it was news; a process that isn't `leading` takes none."""

    def __init__(
        self,
        key: str,
        accept: Callable[[str, Message], bool],
        now: Callable[[], datetime],
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self._key = key
        self._accept = accept
        self._now = now
        self._leading = leading

    def route(self) -> web.RouteDef:
        """The route to serve."""
        return web.post("/progress", self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        if not self._leading():
            return _refuse(503, "this process stands by; the message is for the leader")
        body = await request.read()
        if len(body) > _BODY_MAX:
            return _refuse(413, "the message is longer than 4096 bytes")
        try:
            message = ProgressMessage.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            return _refuse(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(
            presented.encode(errors="surrogateescape"), progress_token(self._key, message.run_id).encode()
        ):
            return _refuse(403, "the token isn't this run's")
        taken = self._accept(message.run_id, _meant(message, self._now()))
        metrics.PROGRESS_MESSAGES.labels("accepted" if taken else "ignored").inc()
        return web.Response(status=204)


def _meant(message: ProgressMessage, now: datetime) -> Message:
    if message.published_after is not None:
        return Published(message.pod_uid, message.records, message.published_after, now)
    return Progress(message.pod_uid, message.stage, message.progress, message.records, now)


def _refuse(status: int, reason: str) -> web.Response:
    metrics.PROGRESS_MESSAGES.labels("refused").inc()
    return web.Response(status=status, text=reason)
