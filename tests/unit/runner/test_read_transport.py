"""A message of rows is read as Google's own library writes it, and held no longer than it is needed."""

import gc

import pytest
from google.cloud.bigquery_storage_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.bigquery.read_transport import RowsMessage


@given(
    rows=st.integers(0, 2**63 - 1), batch=st.binary(max_size=300), schema=st.binary(max_size=20), done=st.floats(0, 1)
)
def test_rows_and_batch_are_those_that_were_written(rows: int, batch: bytes, schema: bytes, done: float) -> None:
    written = types.ReadRowsResponse(
        row_count=rows,
        arrow_record_batch={"serialized_record_batch": batch, "row_count": rows},
        arrow_schema={"serialized_schema": schema},
        stats={"progress": {"at_response_start": done, "at_response_end": 1.0}},
        throttle_state={"throttle_percent": 7},
    )
    message = RowsMessage.parse(types.ReadRowsResponse.serialize(written))
    assert message.row_count == rows
    assert message.take() == batch


def test_what_was_taken_is_not_held_by_the_message() -> None:
    content = types.ReadRowsResponse.serialize(
        types.ReadRowsResponse(arrow_record_batch={"serialized_record_batch": b"rows"})
    )
    message = RowsMessage.parse(content)
    del content
    taken = message.take()
    assert bytes(taken) == b"rows"
    assert message.take() == b""
    assert not [each for each in gc.get_referrers(taken) if each is message.__dict__]


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_read_or_refused(content: bytes) -> None:
    try:
        read = RowsMessage.parse(content)
    except ValueError:
        return
    assert bytes(read.take()) in content


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_a_message_that_ends_too_soon_is_refused(cut: int) -> None:
    whole = types.ReadRowsResponse.serialize(
        types.ReadRowsResponse(arrow_record_batch={"serialized_record_batch": b"0123456789"})
    )
    with pytest.raises(ValueError, match="ends within"):
        RowsMessage.parse(whole[:-cut])
