"""Reads the rows of a table by one session of the Storage Read API, as Arrow batches. Blocking.

No message is held longer than it is needed, and a stream that stands still is given up.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
import pyarrow
from google.auth.credentials import Credentials
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.library import credentials
from pipeline_runner.bigquery.read_transport import ReadTransport, RowsMessage
from pipeline_runner.errors import TransientError

# BigQuery's messages stay well below this; a batch larger than it is refused rather than taken into memory.
_MESSAGE_BYTES = 64 * 1024 * 1024
_REQUEST_SECONDS = 60.0
# A stream that sends nothing for so long is given up: a connection may be lost without a sign.
_MESSAGE_SECONDS = 300.0
# Read one after the other. One would do for BigQuery; the stand-in sends a stream of up to 65,536 rows as one message.
_STREAMS = 10
_M_ARENA_MAX = -8  # malloc.h
# Of glibc; other C libraries have no such thing.
_MALLOPT, _MALLOC_TRIM = (getattr(ctypes.CDLL(None), name, None) for name in ("mallopt", "malloc_trim"))


@contextmanager
def open_session(
    settings: BigQuerySettings, path: str, columns: tuple[Column, ...], condition: str, stop: threading.Event,
    *, identity: Credentials | None = None, read_at: datetime | None = None,
) -> Iterator[Iterator[pyarrow.RecordBatch]]:  # fmt: skip
    """The batches of one snapshot, that of `read_at` or now, of the rows that meet the condition; none is empty.

    `identity` reads, or whom the settings name. They end early when `stop` is set. Raises google.api_core's
    GoogleAPICallError when the read fails, and TransientError when it stands still.
    """
    _share_arenas()
    with _client(settings, identity) as client:
        session = client.create_read_session(
            parent=f"projects/{settings.project}",
            read_session=types.ReadSession(
                table=path,
                data_format=types.DataFormat.ARROW,
                table_modifiers=types.ReadSession.TableModifiers(snapshot_time=read_at),
                read_options=types.ReadSession.TableReadOptions(
                    selected_fields=[column.name for column in columns], row_restriction=condition
                ),
            ),
            max_stream_count=_STREAMS,
            timeout=_REQUEST_SECONDS,
        )
        yield _batches(client, session, stop)


def _batches(
    client: BigQueryReadClient, session: types.ReadSession, stop: threading.Event
) -> Iterator[pyarrow.RecordBatch]:
    schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(session.arrow_schema.serialized_schema))
    for stream in session.streams:
        # The client reconnects by itself where a stream breaks, at the row where it was.
        with _deadline(client):
            messages: Iterator[RowsMessage] = iter(client.read_rows(stream.name))
        while not stop.is_set() and (content := _next_content(client, messages)) is not None:
            batch = pyarrow.ipc.read_record_batch(content, schema)
            if batch.num_rows:
                yield batch
            # A message may have many megabytes: none is held while the next one comes in.
            del batch, content


def _next_content(client: BigQueryReadClient, messages: Iterator[RowsMessage]) -> pyarrow.Buffer | None:
    _give_back()
    with _deadline(client):
        message = next(messages, None)
    _give_back()
    return None if message is None else pyarrow.py_buffer(message.take())


@contextmanager
def _deadline(client: BigQueryReadClient) -> Iterator[None]:
    """Close the client's channel, which ends whatever waits on it, if the block takes longer than a message may."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        client.transport.close()

    timer = threading.Timer(_MESSAGE_SECONDS, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise TransientError(f"the Storage Read API sent nothing for {_MESSAGE_SECONDS:g} seconds") from error
        raise
    finally:
        timer.cancel()


def _share_arenas() -> None:
    """Have glibc's malloc share two arenas among all threads.

    By default each of gRPC's threads gets its own, and each keeps what the largest messages took: memory would creep
    up with the number of messages (measured: 325 MB instead of 260 MB after 1.5 million rows).
    """
    if _MALLOPT is not None:
        _MALLOPT(_M_ARENA_MAX, 2)


def _give_back() -> None:
    """Return freed memory to the system: gRPC receives a large message in small pieces, which glibc would keep.

    Measured with messages of 45 MB: a peak of 300 MB instead of 395 MB, in the same time.
    """
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


@contextmanager
def _client(settings: BigQuerySettings, identity: Credentials | None) -> Iterator[BigQueryReadClient]:
    """A client whose channel follows the endpoint's scheme: without TLS for http://."""
    endpoint = settings.storage_endpoint
    if endpoint.startswith("http://"):
        # A server without TLS is near: reading ahead of what is asked for gains nothing, and holds one more message.
        options = [("grpc.max_receive_message_length", _MESSAGE_BYTES), ("grpc.http2.bdp_probe", 0)]
        transport = ReadTransport(channel=grpc.insecure_channel(urlsplit(endpoint).netloc, options=options))
    else:
        host = endpoint.removeprefix("https://") or ReadTransport.DEFAULT_HOST
        transport = ReadTransport(host=host, credentials=identity or credentials(settings))
    client = BigQueryReadClient(transport=transport)
    with client:
        yield client
