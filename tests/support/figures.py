"""Figures for people: runs in turn, medians, and the ratio to a baseline that ran in the same minute."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic

_LOOK_SECONDS = 0.05


def in_turn(subjects: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each subject, A B A B …, after one round that isn't counted."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, subject in subjects.items():
            began = monotonic()
            subject()
            if number:
                seconds[name].append(monotonic() - began)
    return seconds


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, ready for docs/benchmarks.md."""
    lines = [f"\n### {title}", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


def median(values: Sequence[float]) -> float:
    """The middle of the measured values."""
    return statistics.median(values)


def peak_rss_mib(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command to its end; its seconds and its peak of memory in MiB. Raises CalledProcessError where it fails.

    The peak is the kernel's VmHWM, read while the process runs: what wait4 tells of a child begins with the peak of
    the process that forked it.
    """
    began, peak = monotonic(), 0
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    while True:
        try:
            process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            peak = max(peak, _high_water_kib(process.pid))
            continue
        break
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return monotonic() - began, peak / 1024


def _high_water_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
