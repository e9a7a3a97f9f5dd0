"""Ports and variables are remembered, once chosen, by every thread and process alike."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline_local.errors import LocalError
from pipeline_local.state import PORT_RANGE, BackendChoice, State, is_free


def test_a_port_is_chosen_once(tmp_path: Path) -> None:
    first = State(tmp_path).port("bridge")
    assert first in PORT_RANGE
    assert State(tmp_path).port("bridge") == first


def test_listeners_get_different_ports_from_many_threads(tmp_path: Path) -> None:
    names = [f"listener{number}" for number in range(20)] * 2
    with ThreadPoolExecutor(8) as pool:
        ports = dict(zip(names, pool.map(State(tmp_path).port, names), strict=True))
    assert len(set(ports.values())) == 20
    assert State(tmp_path).ports == ports


def test_a_replaced_port_is_another_one_and_remembered(tmp_path: Path) -> None:
    state = State(tmp_path)
    first = state.port("apiserver")
    second = state.replace_port("apiserver")
    assert second != first
    assert State(tmp_path).port("apiserver") == second


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not is_free(listener.getsockname()[1])


def test_exports_are_added_changed_and_forgotten(tmp_path: Path) -> None:
    State(tmp_path).set_exports(A="1", B="2")
    State(tmp_path).set_exports(A="3", B=None)
    assert State(tmp_path).exports == {"A": "3"}


def test_a_change_keeps_what_others_remembered(tmp_path: Path) -> None:
    choice = BackendChoice(name="context", context="prod", image_repository="registry.example.com/x")
    state = State(tmp_path)
    state.set_backend(choice)
    port = state.port("postgres")
    state.set_exports(A="1")
    assert (State(tmp_path).backend, State(tmp_path).port("postgres")) == (choice, port)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ports": {"a": "x"}}', '{"unknown": 1}'])
def test_a_broken_state_file_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(LocalError, match=r"state\.json is not a state file .* run `pipelines local down --purge`"):
        State(tmp_path).port("etcd")


def test_a_purge_recovers_from_a_broken_state_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    assert State(tmp_path).recover() == BackendChoice(name="embedded")
    assert State(tmp_path).backend is None


def test_what_is_remembered_is_the_owners_alone(tmp_path: Path) -> None:
    state = State(tmp_path / "local")
    state.set_exports(PIPELINES_DATABASE_URL="postgresql://user:secret@127.0.0.1/db")
    assert (tmp_path / "local").stat().st_mode & 0o077 == 0
    assert (tmp_path / "local" / "state.json").stat().st_mode & 0o077 == 0
