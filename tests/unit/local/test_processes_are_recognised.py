"""Only a cluster's own processes are found and ended, whatever number they have."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_local import processes

if sys.platform != "linux":
    pytest.skip("the embedded node runs on Linux only", allow_module_level=True)


def start(tmp_path: Path, *argv: str) -> processes.Identity:
    return processes.start(argv, {"PATH": os.environ["PATH"]}, tmp_path / "log", marker=tmp_path)


def test_a_started_process_runs_until_it_is_ended(tmp_path: Path) -> None:
    identity = start(tmp_path, "sleep", "60")
    assert processes.is_running(identity)
    processes.end([identity], grace=5)
    assert not processes.is_running(identity)


def test_a_process_that_ignores_being_asked_is_killed(tmp_path: Path) -> None:
    identity = start(tmp_path, "bash", "-c", "trap '' TERM; echo ready; while :; do read -t 1 < /dev/zero; done")
    while "ready" not in (tmp_path / "log").read_text():
        assert processes.is_running(identity)
    processes.end([identity], grace=0.2)
    assert not processes.is_running(identity)


def test_a_number_given_again_is_another_process(tmp_path: Path) -> None:
    identity = start(tmp_path, "sleep", "60")
    try:
        predecessor = dataclasses.replace(identity, started=identity.started - 1)
        other_boot = dataclasses.replace(identity, boot="another")
        assert not processes.is_running(predecessor)
        assert not processes.is_running(other_boot)
        processes.end([predecessor, other_boot], grace=0)
        assert processes.is_running(identity)
    finally:
        processes.end([identity], grace=5)


def test_a_signal_reaches_exactly_the_process_that_was_meant(tmp_path: Path) -> None:
    identity = start(tmp_path, "sleep", "60")
    try:
        assert not processes.send(dataclasses.replace(identity, started=identity.started - 1), signal.SIGKILL)
        assert processes.is_running(identity)
        assert processes.send(identity, signal.SIGKILL)
        processes.end([identity], grace=5)
        assert not processes.send(identity, signal.SIGKILL)
    finally:
        processes.end([identity], grace=5)


def test_children_are_found_with_their_programs() -> None:
    this = processes.identify(os.getpid())
    assert this is not None
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            found = next(each for each in processes.children(this) if each.pid == child.pid)
            while processes.program(found) != ["sleep", "60"]:  # between fork and exec it is still a copy of us
                assert processes.is_running(found)
        finally:
            child.kill()
    assert found not in processes.children(this)
    assert processes.program(found) == []


def test_a_zombie_is_not_running() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.identify(child.pid) is None


def test_a_process_whose_first_thread_has_ended_is_running(tmp_path: Path) -> None:
    program = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
    identity = start(tmp_path, sys.executable, "-c", program)
    try:
        while ") Z " not in Path(f"/proc/{identity.pid}/stat").read_text():
            assert processes.is_running(identity)
        assert processes.is_running(identity)
    finally:
        processes.end([identity], grace=0)
    assert not processes.is_running(identity)


def test_an_unrecorded_process_is_found_by_its_marker(tmp_path: Path) -> None:
    identity = start(tmp_path, "sleep", "60")
    try:
        assert list(processes.marked(tmp_path)) == [(identity, "sleep")]
        assert list(processes.marked(tmp_path / "other")) == []
    finally:
        processes.end([identity], grace=5)


def test_a_name_with_spaces_and_parentheses_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a) (b c"
    program.symlink_to("/bin/sleep")
    identity = start(tmp_path, str(program), "60")
    try:
        assert processes.is_running(identity)
    finally:
        processes.end([identity], grace=5)
