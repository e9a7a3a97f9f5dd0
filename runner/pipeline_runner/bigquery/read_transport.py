"""A transport of the Storage Read API whose messages of rows are held once, and no longer than they are needed.

Google's client parses each message into a copy, hands its rows out as another, and holds the message while the next
one comes in: four times the largest message, which may have 128 MB. Here the rows are a view of what gRPC received,
and are let go as soon as they have been taken. All else, the reconnecting too, stays the client's.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

_METHOD = "/google.cloud.bigquery.storage.v1.BigQueryRead/ReadRows"
# Numbers of the fields in ReadRowsResponse, of the one in ArrowRecordBatch, and the wire types of protobuf:
# https://protobuf.dev/programming-guides/encoding/
_ARROW_RECORD_BATCH, _ROW_COUNT = 4, 6
_SERIALIZED_RECORD_BATCH = 1
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


class RowsMessage:
    """What is used of a ReadRowsResponse: `row_count`, which the client counts by, and once its Arrow record batch."""

    def __init__(self, row_count: int, batch: memoryview) -> None:
        self.row_count = row_count
        self._batch = batch

    @classmethod
    def parse(cls, message: bytes) -> "RowsMessage":
        """Read a serialized ReadRowsResponse. Raises ValueError where it isn't one."""
        row_count, batch = 0, memoryview(b"")
        for number, value in _fields(memoryview(message)):
            if number == _ROW_COUNT and isinstance(value, int):
                row_count = value
            elif number == _ARROW_RECORD_BATCH and isinstance(value, memoryview):
                for inner, content in _fields(value):
                    if inner == _SERIALIZED_RECORD_BATCH and isinstance(content, memoryview):
                        batch = content
        return cls(row_count, batch)

    def take(self) -> memoryview:
        """The serialized record batch; the message no longer holds it."""
        batch, self._batch = self._batch, memoryview(b"")
        return batch


class ReadTransport(BigQueryReadGrpcTransport):
    """gRPC as the client has it, with RowsMessage in place of ReadRowsResponse."""

    @cached_property  # the client finds its retries by this very object
    def read_rows(self) -> Callable[[types.ReadRowsRequest], Any]:
        """The method that streams rows, as RowsMessage."""
        call: Callable[[types.ReadRowsRequest], Any] = self.grpc_channel.unary_stream(
            _METHOD, request_serializer=types.ReadRowsRequest.serialize, response_deserializer=RowsMessage.parse
        )
        return call


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: a whole number, or the bytes of what has a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        value: int | memoryview
        if wire_type == _VARINT:
            value, at = _varint(message, at)
        elif wire_type == _LENGTH_DELIMITED:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif wire_type in (_FIXED32, _FIXED64):
            length = 4 if wire_type == _FIXED32 else 8
            value, at = int.from_bytes(message[at : at + length], "little"), at + length
        else:
            raise ValueError(f"a message of the Storage Read API has a field {number} of wire type {wire_type}")
        if at > len(message):
            raise ValueError(f"a message of the Storage Read API ends within its field {number}")
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at this byte, and the byte after it."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a message of the Storage Read API ends within a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
