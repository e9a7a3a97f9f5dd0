"""How fast a copy is, and how much memory it takes, beside others that copy the same rows.

dlt runs in an environment of its own (`locks/bench-dlt.txt`), which this makes below the cache folder. It gets the rows
as Arrow, writes Parquet, and loads that; it neither checks what arrived nor replaces days, and takes flat columns only.
The bare loop is the shortest that Google's client can be used for: Storage Read, Parquet, one load job at a time.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from bench import environments
from bench.exports import DAYS, Export, export, loaded
from support.figures import median, peak_rss_mib, show

# The stand-in holds each table and a snapshot of each change in memory: a million nested rows would take 15 GB of it.
ROWS = {"flat": 1_000_000, "nested": 300_000}
ROUNDS = 3
HERE = Path(__file__).parent
# As dlt is run here: the stand-in can't read its compressed files, and nothing is told to its makers.
DLT = {"DATA_WRITER__DISABLE_COMPRESSION": "true", "RUNTIME__DLTHUB_TELEMETRY": "false"}

Way = Callable[[Export], float]


def _runner(read: str) -> Way:
    def copy(made: Export) -> float:
        peak = made.copy(read)
        assert made.holds_all(read)
        return peak

    return copy


def _bare(made: Export) -> float:
    script, target = str(HERE / "bare_copy.py"), f"{made.dataset}.bare"
    _, peak = peak_rss_mib([environments.interpreter("runner"), script, made.table, target], {})
    assert made.holds_all("bare")
    return peak


def _dlt(made: Export) -> float:
    script, target = str(HERE / "dlt_copy.py"), f"{made.dataset.partition('.')[2]}.dlt"
    _, peak = peak_rss_mib([environments.interpreter("bench-dlt"), script, made.table, target], DLT)
    assert made.holds_all("dlt")
    return peak


OURS = {"server-side query": _runner("query"), "Storage Read": _runner("storage")}
# The last one is the baseline.
FLAT = {**OURS, "bare client loop": _bare, "dlt (baseline)": _dlt}
NESTED = {**OURS, "bare client loop (baseline)": _bare}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "ways"), [("flat", FLAT), ("nested", NESTED)])
def test_copy(kind: str, ways: dict[str, Way], tmp_path: Path) -> None:
    rows, _ = export(ROWS[kind], nested=kind == "nested")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            # a stand-in of its own for each: what another one left in its memory would slow it down
            with loaded(tmp_path, rows) as made:
                began = monotonic()
                peak = way(made)
                taken = monotonic() - began
            if number:  # the first round makes the environments and warms the page cache
                seconds[name].append(taken)
                peaks[name].append(peak)
    typical, memory = ({name: median(values) for name, values in each.items()} for each in (seconds, peaks))
    baseline = list(ways)[-1]
    show(
        f"Copying {rows.num_rows:,} rows of a billing export, {len(rows.column_names)} {kind} columns, whole process",
        ["way", "seconds", "rows/s", "rows/s to baseline", "peak MiB", "memory to baseline"],
        [
            [
                name,
                f"{typical[name]:.2f}",
                f"{rows.num_rows / typical[name]:,.0f}",
                f"{typical[baseline] / typical[name]:.2f}",
                f"{memory[name]:.0f}",
                f"{memory[name] / memory[baseline]:.2f}",
            ]
            for name in ways
        ],
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ROWS)
def test_rescan(kind: str, tmp_path: Path) -> None:
    """Ten days that haven't changed, beside the first copy of them: the stages of the runs, and whole processes."""
    rows, _ = export(ROWS[kind], nested=kind == "nested")
    table = []
    for read in ("query", "storage"):
        copied: list[tuple[float, float]] = []
        looked: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            with loaded(tmp_path, rows) as made:
                copied.append(made.rescan(read, rows.num_rows))
                looked.append(made.rescan(read, 0))
        (whole, stages), (again, look) = (
            tuple(median(values) for values in zip(*each, strict=True)) for each in (copied, looked)
        )
        ratios = [f"{again / whole:.3f}", f"{look / stages:.3f}"]
        table.append([read, f"{whole:.2f}", f"{again:.2f}", ratios[0], f"{stages:.2f}", f"{look:.2f}", ratios[1]])
    show(
        f"A rescan of {DAYS} unchanged days, {rows.num_rows:,} rows, {len(rows.column_names)} {kind} columns",
        ["way", "first copy s", "rescan s", "ratio", "first copy, its stages s", "rescan, its stages s", "ratio"],
        table,
    )
