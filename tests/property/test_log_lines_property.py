"""A log that is read in any pieces, breaking off anywhere and read again, comes out whole, once, without stamps."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from pipeline_bridge.log_lines import StampedLines

START = datetime(2026, 11, 3, 6, 0, 0, 999_000, tzinfo=UTC)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Stamps and lines: several of one stamp, of one second, of a node in another zone."""
    lines = draw(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b" ") + b"\n"), max_size=8))
    steps = draw(st.lists(st.sampled_from([0, 1, 1_000, 10**9, 10**10]), min_size=len(lines), max_size=len(lines)))
    zone = draw(st.sampled_from([UTC, timezone(timedelta(hours=-7))]))
    return list(zip((stamp(nanoseconds, zone) for nanoseconds in accumulate(steps)), lines, strict=True))


def stamp(nanoseconds: int, zone: timezone) -> bytes:
    """As the kubelet writes it, nine digits of a second."""
    moment = (START + timedelta(seconds=nanoseconds // 10**9)).astimezone(zone)
    fraction = moment.microsecond * 1000 + nanoseconds % 10**9
    moment = (moment + timedelta(seconds=fraction // 10**9)).replace(microsecond=0)
    text, offset = moment.isoformat()[:19], moment.isoformat()[19:]
    return f"{text}.{fraction % 10**9:09}{'Z' if offset == '+00:00' else offset}".encode()


def since(log: list[tuple[bytes, bytes]], moment: str | None) -> bytes:
    """What the API server gives of the log from this second on."""
    first = datetime.fromisoformat(moment) if moment else START - timedelta(days=1)
    return b"".join(b"%b %b" % line for line in log if datetime.fromisoformat(line[0].decode()) >= first)


@given(logs(), st.lists(st.integers(0, 150), max_size=3), st.integers(1, 30))
def test_every_line_comes_once(log: list[tuple[bytes, bytes]], breaks: list[int], size: int) -> None:
    lines, out = StampedLines(), b""
    for end in [*breaks, None]:
        lines.resume()
        given_now = since(log, lines.since)[:end]
        for at in range(0, len(given_now), size):
            out += lines.read(given_now[at : at + size])
    assert out == b"".join(line for _, line in log)
    assert not lines.is_mid_line


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 30))
def test_any_bytes_can_be_read(chunks: list[bytes], size: int) -> None:
    lines = StampedLines()
    for chunk in chunks:
        assert len(lines.read(chunk)) <= len(b"".join(chunks)) + 1


def test_the_kubelets_own_words_have_no_stamp_and_stay() -> None:
    lines = StampedLines()
    assert lines.read(b"2026-11-03T06:00:01.000000001Z one\nunable to retrieve container logs for x\n") == (
        b"one\nunable to retrieve container logs for x\n"
    )


def test_a_line_that_was_cut_and_is_gone_ends_before_the_next() -> None:
    lines = StampedLines()
    assert lines.read(b"2026-11-03T06:00:01.000000001Z one and a ha") == b"one and a ha"
    lines.resume()
    assert lines.read(b"2026-11-03T06:00:02.000000001Z two\n") == b"\ntwo\n"
