"""A stream of the Storage Read API that stands still ends as a passing failure, not never."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]
import pyarrow
import pytest
from google.cloud.bigquery_storage_v1 import types

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery import read_session, storage_read
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.errors import TransientError

_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
_SCHEMA = pyarrow.schema([("v", pyarrow.int64())])


@contextmanager
def silent_server(messages: int) -> Iterator[str]:
    """A server whose streams send some messages, and then nothing more; its address."""
    ended = threading.Event()
    batch = pyarrow.record_batch([[1]], schema=_SCHEMA).serialize().to_pybytes()

    def create(_request: types.CreateReadSessionRequest, _context: grpc.ServicerContext) -> types.ReadSession:
        schema = {"serialized_schema": _SCHEMA.serialize().to_pybytes()}
        return types.ReadSession(arrow_schema=schema, streams=[{"name": "s"}])

    def read(_request: types.ReadRowsRequest, _context: grpc.ServicerContext) -> Iterator[types.ReadRowsResponse]:
        for _ in range(messages):
            yield types.ReadRowsResponse(row_count=1, arrow_record_batch={"serialized_record_batch": batch})
        ended.wait(30)

    handlers = {
        "CreateReadSession": grpc.unary_unary_rpc_method_handler(
            create, types.CreateReadSessionRequest.deserialize, types.ReadSession.serialize
        ),
        "ReadRows": grpc.unary_stream_rpc_method_handler(
            read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
        ),
    }
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        ended.set()
        server.stop(0).wait()


@pytest.mark.parametrize("messages", [0, 2])
def test_a_silent_stream_is_given_up(messages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_session, "_MESSAGE_SECONDS", 0.3)
    with silent_server(messages) as address:
        settings = BigQuerySettings(project="p", storage_endpoint=address, credentials="anonymous")
        columns = (Column("v", "INTEGER"),)
        parts = storage_read.read_parts(
            settings, "projects/p/datasets/d/tables/t", columns, "", threading.Event(), lambda batch: batch
        )
        with pytest.raises(TransientError, match=r"the Storage Read API sent nothing for 0\.3 seconds"):
            next(parts)
