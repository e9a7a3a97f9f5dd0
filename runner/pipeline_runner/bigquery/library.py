"""Imports Google's BigQuery client without its optional companions: half of its import time and memory.

`google.cloud.bigquery` imports pyarrow, numpy and the Storage API wherever they are installed, and goes without them
elsewhere. A run that moves its rows by a query needs none of them, so they are hidden while the client is imported;
the module that reads by the Storage API imports them afterwards. Import `bigquery` from here, never from Google's
package, in all that a run starts with.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


with _hidden(_COMPANIONS):
    from google.cloud import bigquery
    from google.cloud.bigquery import client

    from pipeline_core.store.bigquery.client import bigquery_client, credentials

# An upload holds a chunk of this size in memory: 100 MiB by default. The library has no other way to set it.
client._DEFAULT_CHUNKSIZE = 8 * 1024 * 1024

__all__ = ["bigquery", "bigquery_client", "credentials"]
