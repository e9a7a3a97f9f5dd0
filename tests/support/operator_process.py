"""The operator's process, as the kernel and its own metrics see it."""

import os
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from pipeline_local.kubectl import Kubectl

_TICKS = os.sysconf("SC_CLK_TCK")
OPERATOR = "app.kubernetes.io/component=operator,app.kubernetes.io/name=pipelines"


@dataclass(frozen=True)
class OperatorProcess:
    """One start of the operator on the embedded node."""

    pid: int
    url: str

    @classmethod
    def find(cls, kubectl: Kubectl, port: int) -> "OperatorProcess":
        """The process in the operator's only pod."""
        pods = kubectl.read("pods", f"--selector={OPERATOR}")["items"]
        ids = [
            status["containerID"].rpartition("/")[2]
            for pod in pods
            for status in pod["status"].get("containerStatuses", ())
            if "running" in status["state"]
        ]
        assert len(ids) == 1, f"expected one running operator, found {len(ids)}"
        for group in Path("/proc").glob("[0-9]*/cgroup"):
            try:
                if ids[0] in group.read_text():
                    return cls(int(group.parent.name), f"http://127.0.0.1:{port}")
            except OSError:
                continue  # it ended meanwhile
        raise AssertionError("the operator's process isn't on this machine")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, since its start (proc_pid_stat(5), fields 14 and 15)."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def age_seconds(self) -> float:
        """Since the kernel started it (field 22)."""
        fields = _stat(self.pid)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS

    def rss_mib(self) -> float:
        """Resident memory now."""
        return _status_kib(self.pid, "VmRSS") / 1024

    def peak_rss_mib(self) -> float:
        """The most it ever had."""
        return _status_kib(self.pid, "VmHWM") / 1024

    def counter(self, name: str) -> float:
        """The sum of a counter over its labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return total(answer.read().decode(), name)


def total(metrics: str, name: str, *labels: str) -> float:
    """The sum of a metric's samples that have all of these labels, such as `verb="POST"`."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith((f"{name}{{", f"{name} ")) and all(label in line for label in labels)
    )


def is_ready(port: int) -> bool:
    """Whether an operator on this port says that it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except OSError:  # nobody listens, or an answer other than 200
        return False


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the second may itself hold spaces and parentheses."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2 :].split()


def _status_kib(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
