"""Lines go to a temporary file; a disk that is full asks for another attempt."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline_runner.bigquery import parts
from pipeline_runner.bigquery.parts import Parts
from pipeline_runner.errors import TransientError


class Full:
    def __init__(self, **_: Any) -> None:
        """A file that takes nothing."""

    def write(self, _line: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        """Nothing is open."""


class NoFile:
    def __init__(self, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", [Full, NoFile])
def test_a_full_disk_asks_for_another_attempt(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    monkeypatch.setattr(parts, "tempfile", SimpleNamespace(TemporaryFile=kind))
    made = Parts(None, "costs", "p.d.t", (), location="US")  # type: ignore[arg-type]
    with pytest.raises(TransientError, match=r"writing rows of p\.d\.t: the pod's disk for temporary files is full"):
        made.write(b"{}\n")
    made.close()
