"""What is printed is masked, line by line, however it is cut into writes."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner import masking
from pipeline_runner.output import MaskedStream

KEY = "sk-admin-canary-5xQ2v9LrT7w"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    masking.forget()


@given(st.lists(st.integers(1, 60), max_size=8), st.text(max_size=40), st.text(max_size=40))
def test_no_cut_lets_it_through_and_nothing_else_changes(cuts: list[int], before: str, after: str) -> None:
    masking.forget()
    masking.protect(KEY)
    text = f"{before}{KEY}{after}\nanother line\n"
    target = io.StringIO(newline="")
    stream = MaskedStream(target)
    for cut in cuts:
        assert stream.write(text[:cut]) == len(text[:cut])
        text = text[cut:]
    stream.write(text)
    assert target.getvalue() == f"{before}{masking.MASK}{after}\nanother line\n"


def test_what_is_flushed_in_the_midst_of_a_line_is_masked_and_written() -> None:
    masking.protect(KEY)
    target = io.StringIO()
    stream = MaskedStream(target)
    print("done", KEY, end="", file=stream, flush=True)
    assert target.getvalue() == f"done {masking.MASK}"
    print(" with", KEY[:20], end="", file=stream)
    assert target.getvalue() == f"done {masking.MASK}"
    stream.flush()
    assert target.getvalue() == f"done {masking.MASK} with {masking.MASK}"


def test_a_line_without_an_end_takes_no_memory_without_one() -> None:
    target = io.StringIO()
    stream = MaskedStream(target)
    for _ in range(200):
        stream.write("." * 1_024)
    assert len(target.getvalue()) > 128 * 1_024
    stream.flush()
    assert target.getvalue() == "." * 200 * 1_024
