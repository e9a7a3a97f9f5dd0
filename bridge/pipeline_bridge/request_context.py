"""What a request carries of its caller's own: the request id and the place in a trace, each only if well formed."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_core import tracing


@dataclass(slots=True)
class RequestContext:
    """Of one request; `body_bytes` is what its Content-Length says, None where it says nothing."""

    request_id: str
    traceparent: str | None
    body_bytes: int | None
    has_body: bool

    @property
    def trace_id(self) -> str | None:
        """The trace that the request is part of."""
        return None if self.traceparent is None else self.traceparent[3:35]


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> RequestContext:
    """Read them, in one pass over the headers; their names are lower case. A header given twice counts as not given."""
    request_id: bytes | None = None
    traceparent: bytes | None = None
    body_bytes: int | None = None
    has_body = False
    for name, value in headers:
        if name == b"x-request-id":
            request_id = value if request_id is None else b""
        elif name == b"traceparent":
            traceparent = value if traceparent is None else b""
        elif name == b"content-length":
            body_bytes = int(value) if value.isdigit() else None
            has_body = body_bytes != 0
        elif name == b"transfer-encoding":
            has_body = True
    return RequestContext(
        # Unique is enough, and costs no system call.
        tracing.request_id(_text(request_id)) or f"{random.getrandbits(128):032x}",
        tracing.traceparent(_text(traceparent)),
        body_bytes,
        has_body,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
