"""`pipelines backfill --follow`: each change once, to the end, whatever is away or interrupts it."""

import asyncio

import pytest

from pipeline_core.kube.api import Json, KubeUnavailableError
from support.backfill_command import ID, OCTOBER, STORED, Server, invoke

ENDS = [
    ({"state": "Completed", "succeeded": 31}, 0, "Completed: 31 of 31 runs have ended"),
    ({"state": "Completed", "succeeded": 30, "failed": 1}, 1, "31 of 31 runs have ended, 1 of them not as completed"),
    (
        {"state": "Invalid", "message": "spec.backfill.to: no"},
        78,
        "Invalid: 0 of 31 runs have ended; spec.backfill.to: no",
    ),
]


@pytest.mark.parametrize(("end", "code", "words"), ENDS)
def test_it_is_followed_to_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch, end: Json, code: int, words: str
) -> None:
    server.schedule()
    steps = iter(
        [
            {},
            {"id": ID, "state": "Running", "total": 31, "active": 1},
            {"id": ID, "state": "Running", "total": 31, "active": 1},
            {
                "id": ID,
                "state": "Waiting",
                "total": 31,
                "succeeded": 20,
                "message": "Daily pipeline limit (20) reached",
            },
            {"id": ID, "total": 31, **end},
        ]
    )

    async def look(_seconds: float) -> None:
        (key,) = server.objects
        server.put("pipelineschedules", {**server.objects[key], "status": {"backfill": next(steps)}})

    monkeypatch.setattr(asyncio, "sleep", look)
    out = invoke(*OCTOBER, "--yes", "--follow", code=code).stdout.splitlines()
    assert out[-4:-1] == [
        f"{ID}: Pending: the operator hasn't begun it yet",
        f"{ID}: Running: 0 of 31 runs have ended; 1 under way",
        f"{ID}: Waiting: 20 of 31 runs have ended; Daily pipeline limit (20) reached",
    ]
    assert words in out[-1]


def test_one_that_is_stopped_meanwhile_ends_following(server: Server) -> None:
    server.schedule(progress={"id": ID, "state": "Stopped", "total": 31, "succeeded": 3})
    assert "Stopped: 3 of 31 runs have ended" in invoke("--follow", code=1).stdout


def test_an_interrupt_ends_following_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.schedule(backfill=dict(STORED))

    async def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "sleep", interrupt)
    assert invoke("--follow", code=130).stderr == "the backfill goes on; --follow alone shows it again\n"
    assert server.writes() == []


def test_while_kubernetes_is_away_it_goes_on_following(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.schedule(backfill=dict(STORED))
    looks = 0

    async def look(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            server.schedule(
                backfill=dict(STORED), progress={"id": ID, "state": "Completed", "total": 31, "succeeded": 31}
            )
            server.before = lambda _method, _path: None
        else:
            server.before = away

    def away(method: str, path: str) -> None:
        raise KubeUnavailableError(f"{method} {path}: no answer")

    monkeypatch.setattr(asyncio, "sleep", look)
    result = invoke("--follow")
    assert "Kubernetes can't be reached; trying again" in result.stderr
    assert "Completed: 31 of 31" in result.stdout


def test_a_corrected_one_is_followed_from_its_begin(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another = {"id": ID, "state": "Invalid", "covers": "2026-10-01/2026-09-30 0 6 * * * Etc/UTC"}
    server.schedule(backfill=dict(STORED), progress=of_another)

    async def look(_seconds: float) -> None:
        of_it = {"id": ID, "state": "Completed", "total": 31, "succeeded": 31}
        server.schedule(backfill=dict(STORED), progress={**of_it, "covers": "2026-10-01/2026-10-31 0 6 * * * Etc/UTC"})

    monkeypatch.setattr(asyncio, "sleep", look)
    out = invoke("--follow").stdout.splitlines()
    assert out == [f"{ID}: Pending: the operator hasn't begun it yet", f"{ID}: Completed: 31 of 31 runs have ended"]
