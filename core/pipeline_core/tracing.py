"""What names a request in everybody's logs: its id, and its place in the caller's trace (W3C Trace Context)."""

import re

REQUEST_ID = r"[A-Za-z0-9._-]{1,128}"
# Version, trace id, parent id, flags. The ids aren't all zeros, and version ff doesn't exist.
TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"


def request_id(value: str | None) -> str | None:
    """The value, if it is a request id; None for whatever else somebody has written in its place."""
    return value if value is not None and re.fullmatch(REQUEST_ID, value) else None


def traceparent(value: str | None) -> str | None:
    """The value, if it is a place in a trace; None otherwise."""
    return value if value is not None and re.fullmatch(TRACEPARENT, value) else None
