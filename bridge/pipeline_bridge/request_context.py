"""What a request carries of its caller's own: the request id and the place in a trace, each only if well formed."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context: version, trace id, parent id, flags. The ids aren't all zeros, version ff doesn't exist.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


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
    if request_id is None or not _REQUEST_ID.fullmatch(request_id):
        # Unique is enough, and costs no system call.
        request_id = b"%032x" % random.getrandbits(128)
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    return RequestContext(
        request_id.decode("ascii"), None if traceparent is None else traceparent.decode("ascii"), body_bytes, has_body
    )
