"""The access log: one JSON line for each request, never with headers, query or body.

It doesn't go through structlog: its filter for credentials costs more than the rest of the middleware. What a line
holds is chosen here, and a path is cleaned of what looks like a key.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime

LOGGER = "pipeline_bridge.access"

_log = logging.getLogger(LOGGER)
_PATH_MAX = 500
_KEY_LIKE = re.compile(r"plk_[A-Za-z0-9_-]*")
# Made once: json.dumps makes one for each call with options of its own.
_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def write(fields: dict[str, object]) -> None:
    """Write a line with these fields, where the log's level lets it through."""
    if not _log.isEnabledFor(logging.INFO):
        return
    line = {
        "event": "request",
        "level": "info",
        "logger": LOGGER,
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "component": "bridge",
        **fields,
    }
    sys.stderr.write(_to_json(line) + "\n")


def clean_path(path: str) -> str:
    """A path for the log: short, and without a key that was put into it by mistake."""
    shown = path if len(path) <= _PATH_MAX else path[:_PATH_MAX] + "…"
    return _KEY_LIKE.sub("plk_[redacted]", shown) if "plk_" in shown else shown
