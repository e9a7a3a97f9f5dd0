"""What is printed is masked, line by line, however it is cut into writes."""

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner import masking
from pipeline_runner.output import MaskedStream, flush_output

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


def test_bytes_are_masked_as_the_text_that_they_are() -> None:
    masking.protect(KEY)
    target = io.StringIO()
    stream = MaskedStream(target)
    stream.reconfigure(line_buffering=True)
    data = f"größer {KEY}\n".encode()
    for piece in (data[:3], data[3:20], data[20:]):  # in the midst of a character, and of the key
        assert stream.buffer.write(piece) == len(piece)
    assert target.getvalue() == f"größer {masking.MASK}\n"


def test_unfinished_lines_are_written_before_the_end_though_one_stream_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = io.StringIO()
    free, stuck = MaskedStream(target), MaskedStream(io.StringIO())
    monkeypatch.setattr("sys.stdout", free)
    monkeypatch.setattr("sys.stderr", stuck)
    free.write("half")
    with stuck._lock:  # by a thread that never lets it go
        flush_output()
    assert target.getvalue() == "half"


def test_a_line_is_written_while_another_thread_reads_the_next_secret() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        masking.protect("a" * 10 + KEY)
        text = ("a" * 10 + KEY)[3:-1]  # no more than a piece of it
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: [masking.protect(f"{number:040}") for number in range(60)])
            while not reading.done():
                assert masking.masked(text) == masking.MASK
            reading.result()
    finally:
        sys.setswitchinterval(interval)


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
