"""Logs as one JSON object a line on standard error, for our own lines and those of the libraries alike.

Whatever is logged, tracebacks included, passes a filter for credentials: the last line of defence, since no part should
log one.
"""

import logging
import sys
from collections.abc import Callable
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from pipeline_core.redaction import REDACTED, is_credential_name, without_named_credentials

# Structlog's own entries of a line, which it takes out before it is written.
_INTERNAL = ("_record", "_from_structlog")


def configure_logging(level: str, component: str, *, mask: Callable[[str], str] | None = None) -> None:
    """Route structlog and the standard library to standard error as JSON; `component` is in each line.

    `level` is a name such as `info`. Raises ValueError for one that doesn't exist. `mask` takes out of every text what
    the process itself knows to be secret. Fields bound with
    structlog.contextvars.bind_contextvars, such as run_id, are in the lines of that task.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} isn't one of debug, info, warning, error, critical")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _component(component),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # text of the traceback, without the values of variables
        redact,
        *([_masking(mask)] if mask is not None else []),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every text in the line without credentials."""
    for key, value in event.items():
        if key not in _INTERNAL:
            event[key] = REDACTED if is_credential_name(key) else _redacted(value)
    return event


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return without_named_credentials(value)
    if isinstance(value, dict):
        return {key: REDACTED if is_credential_name(str(key)) else _redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and _names_a_credential(value[0]):
            return [_redacted(value[0]), REDACTED]
        return [_redacted(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _redacted(str(value))


def _names_a_credential(value: object) -> bool:
    """Whether what stands beside it is one, as in a header: `(b"x-api-key", b"…")`."""
    name = value.decode("latin-1") if isinstance(value, bytes) else value
    return isinstance(name, str) and is_credential_name(name)


def _masking(mask: Callable[[str], str]) -> Processor:
    def change(value: object) -> object:
        if isinstance(value, str):
            return mask(value)
        if isinstance(value, dict):
            return {mask(str(key)): change(each) for key, each in value.items()}
        return [change(each) for each in value] if isinstance(value, list) else value

    def apply(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        # After `redact`, there is nothing else that holds texts.
        internal = {key: event.pop(key) for key in _INTERNAL if key in event}
        return {**{mask(key): change(value) for key, value in event.items()}, **internal}

    return apply


def _component(component: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("component", component)
        return event

    return add


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("uncaught").critical("process ended by an error", exc_info=(kind, error, trace))
