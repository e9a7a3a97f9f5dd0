"""Components are started once, restarted when dead or outdated, and a failing one is named with its log."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_local import processes
from pipeline_local.components import Component
from pipeline_local.errors import LocalError
from pipeline_local.supervision import Supervisor

if sys.platform != "linux":
    pytest.skip("the embedded node runs on Linux only", allow_module_level=True)

ENVIRONMENT = {"PATH": os.environ["PATH"]}


PROGRAMS = Path(tempfile.mkdtemp())


def component(name: str, seconds: str = "60", needs: tuple[str, ...] = ()) -> Component:
    return Component(name=name, argv=(str(PROGRAMS / name), seconds), address="", probe=lambda: None, needs=needs)


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    for name in ("one", "two"):
        (PROGRAMS / name).symlink_to("/bin/sleep")
    yield
    shutil.rmtree(PROGRAMS)


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path / "state", ENVIRONMENT, salt="")


def pids(supervisor: Supervisor, *components: Component) -> list[int | None]:
    return [status.pid for status in supervisor.statuses(components)]


def test_bringing_up_twice_starts_once(supervisor: Supervisor) -> None:
    parts = (component("one"), component("two", needs=("one",)))
    try:
        supervisor.bring_up(parts)
        first = pids(supervisor, *parts)
        supervisor.bring_up(parts)
        assert pids(supervisor, *parts) == first
        assert None not in first
    finally:
        supervisor.end(["one", "two"])
    assert pids(supervisor, *parts) == [None, None]


@pytest.mark.parametrize("dead", [("one",), ("two",), ("one", "two")])
def test_any_dead_component_is_started_again(supervisor: Supervisor, dead: tuple[str, ...]) -> None:
    parts = (component("one"), component("two", needs=("one",)))
    try:
        supervisor.bring_up(parts)
        before = dict(zip(("one", "two"), pids(supervisor, *parts), strict=True))
        for name in dead:
            identity = processes.identify(before[name] or 0)
            assert identity is not None
            processes.end([identity], grace=5)
        supervisor.bring_up(parts)
        after = dict(zip(("one", "two"), pids(supervisor, *parts), strict=True))
        assert {name for name in after if after[name] != before[name]} == set(dead)
    finally:
        supervisor.end(["one", "two"])


def test_the_process_of_a_component_is_told_while_it_runs(supervisor: Supervisor) -> None:
    assert supervisor.identity("one") is None
    try:
        supervisor.bring_up([component("one")])
        identity = supervisor.identity("one")
        assert identity is not None
        assert [identity.pid] == pids(supervisor, component("one"))
    finally:
        supervisor.end(["one"])
    assert supervisor.identity("one") is None


def test_changed_arguments_restart_only_that_component(supervisor: Supervisor) -> None:
    try:
        supervisor.bring_up((component("one"), component("two")))
        before = pids(supervisor, component("one"), component("two"))
        changed = (component("one", seconds="61"), component("two"))
        supervisor.bring_up(changed)
        after = pids(supervisor, *changed)
        assert after[0] != before[0]
        assert after[1] == before[1]
    finally:
        supervisor.end(["one", "two"])


def test_one_started_but_not_recorded_is_replaced(supervisor: Supervisor, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    stray = processes.start([str(PROGRAMS / "one"), "60"], ENVIRONMENT, tmp_path / "log", marker=state)
    try:
        supervisor.bring_up([component("one")])
        assert not processes.is_running(stray)
    finally:
        supervisor.end(["one"])


def test_ending_finds_what_was_not_recorded(supervisor: Supervisor, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    stray = processes.start([str(PROGRAMS / "one"), "60"], ENVIRONMENT, tmp_path / "log", marker=state)
    supervisor.end(["one"])
    assert not processes.is_running(stray)


def test_a_component_that_ends_is_named_with_its_log(supervisor: Supervisor) -> None:
    failing = Component(
        name="sh", argv=("sh", "-c", "echo no such disk; exit 1"), address="", probe=lambda: "no answer"
    )
    with pytest.raises(LocalError, match=r"(?s)sh (does not come up: ended\nno such disk|could not be started)"):
        supervisor.bring_up([failing])
    supervisor.end(["sh"])


def test_a_missing_program_is_named(supervisor: Supervisor) -> None:
    missing = Component(name="three", argv=("/nowhere/three",), address="", probe=lambda: None)
    with pytest.raises(LocalError, match=r"three could not be started: .*No such file"):
        supervisor.bring_up([missing])
