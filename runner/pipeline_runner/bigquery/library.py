"""Imports Google's BigQuery client without its optional companions: half of its import time and memory.

`google.cloud.bigquery` imports pyarrow, numpy and the Storage API wherever they are installed, and goes without them
elsewhere. A run that moves its rows by a query needs none of them, so they are hidden while the client is imported;
the module that reads by the Storage API imports them afterwards. Import `bigquery` from here, never from Google's
package, in all that a run starts with.

The same goes for the keys of service accounts, whose cryptography is a third of what is left: pods have none.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_KEYS = "google.oauth2.service_account"
_COMPANIONS = ("google.cloud.bigquery_storage_v1", "numpy", "opentelemetry", "pandas", "pyarrow")


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    absent = [name for name in names if name not in sys.modules]
    # None in sys.modules makes an import of that name fail as if it weren't installed.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]


class _Later(ModuleType):
    """A module that is imported when something of it is needed.

    Of any credentials the client asks whether they are this module's: none are, as long as nobody has imported it.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "Credentials" and self.__name__ not in sys.modules:
            return _Nobodys
        return getattr(importlib.import_module(self.__name__), name)


class _Nobodys:
    """A class of which there are no objects."""


@contextmanager
def _later(name: str) -> Iterator[None]:
    if name in sys.modules:
        yield
        return
    sys.modules[name] = stand_in = _Later(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


with _hidden(_COMPANIONS), _later(_KEYS):
    from google.cloud import bigquery
    from google.cloud.bigquery import client

    from pipeline_core.store.bigquery.client import bigquery_client, credentials

# An upload holds a chunk of this size in memory: 100 MiB by default. The library has no other way to set it.
client._DEFAULT_CHUNKSIZE = 8 * 1024 * 1024

__all__ = ["bigquery", "bigquery_client", "credentials"]
