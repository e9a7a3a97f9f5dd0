"""`pipelines backfill` writes upon what others have written meanwhile, or nothing where it isn't what was said."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline_core.kube.api import Json
from support.backfill_command import ID, OCTOBER, SPEC, STORED, Server, invoke

TIMES = "schedule nightly was changed by others meanwhile: its times, which were 0 6 * * * Etc/UTC; nothing was written"
GIT = {"annotations": {"argocd.argoproj.io/tracking-id": "etl:pipelines.dev/PipelineSchedule:tenants/nightly"}}


def before_the_patch(server: Server, change: Callable[[Json], Json | None]) -> None:
    """Somebody else's change of the schedule after it was read; None: it is deleted and made anew as it was."""
    (key,) = server.objects
    found = server.objects[key]

    def interfere(method: str, _: str) -> None:
        if method != "PATCH":
            return
        server.before = lambda _method, _path: None
        body = {**found, "metadata": dict(found["metadata"])}
        changed = change(body)
        if changed is None:
            del body["metadata"]["uid"]
        server.put("pipelineschedules", changed or body)

    server.before = interfere


def with_spec(**more: Any) -> Callable[[Json], Json]:
    return lambda body: {**body, "spec": {**body["spec"], **more}}


def with_git(body: Json) -> Json:
    return {**body, "metadata": {**body["metadata"], **GIT}}


DONE = {"id": "t", "state": "Completed", "total": 1}
MEANWHILE: list[tuple[Callable[[Json], Json | None], int, str]] = [
    (lambda _: None, 75, "was changed by others meanwhile: it was deleted and made anew; nothing was written"),
    (with_git, 78, "is managed by Argo CD, application etl"),
]


def test_a_change_that_another_came_between_is_made_upon_that_one(server: Server) -> None:
    schedule = server.schedule()
    others: list[Callable[[], object]] = [lambda: server.put("pipelineschedules", schedule)] * 2

    def interfere(method: str, _: str) -> None:
        if method == "PATCH" and others:
            others.pop()()

    server.before = interfere
    invoke(*OCTOBER, "--yes")
    assert server.stored == STORED
    assert len(server.writes()) == 3


def test_one_that_another_has_begun_meanwhile_is_told(server: Server) -> None:
    schedule = server.schedule()

    def interfere(method: str, _: str) -> None:
        if method == "PATCH":
            server.put("pipelineschedules", {**schedule, "spec": {**SPEC, "backfill": {**STORED, "id": "t"}}})

    server.before = interfere
    assert "Backfill t of schedule nightly is under way" in invoke(*OCTOBER, "--yes", code=78).stderr


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        *MEANWHILE,
        (with_spec(cronExpression="* * * * *"), 75, TIMES),
        (with_spec(timeZone="Europe/Madrid"), 75, TIMES),
        (with_spec(backfill={**STORED, "id": "t"}), 78, "Backfill t of schedule nightly is under way"),
        (lambda body: {**body, "status": {"backfill": DONE}}, 75, "its backfill is t; nothing was written, try again"),
    ],
)
def test_what_is_not_as_it_was_said_is_not_begun(
    server: Server, change: Callable[[Json], Json | None], code: int, words: str
) -> None:
    server.schedule()
    before_the_patch(server, change)
    result = invoke(*OCTOBER, "--yes", code=code)
    assert words in result.stderr
    assert "Begun" not in result.stdout
    assert (server.stored or {}).get("id") != ID


def test_one_that_another_has_begun_as_it_was_meant_is_not_said_to_be_begun(server: Server) -> None:
    server.schedule()
    before_the_patch(server, with_spec(backfill=dict(STORED)))
    out = invoke(*OCTOBER, "--yes").stdout
    assert "Begun" not in out
    assert out.endswith("It is there already; nothing was changed.\n")


@pytest.mark.parametrize("option", ["--pause", "--resume", "--stop"])
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        *MEANWHILE,
        (with_spec(backfill=None), 78, "schedule nightly has no backfill"),
        (with_spec(backfill={**STORED, "id": "t"}), 75, f"its backfill is t, no longer {ID}"),
    ],
)
def test_no_other_backfill_is_changed_than_the_one_that_was_there(
    server: Server, option: str, change: Callable[[Json], Json | None], code: int, words: str
) -> None:
    server.schedule(backfill=dict(STORED))
    before_the_patch(server, change)
    result = invoke(option, code=code)
    assert words in result.stderr
    assert result.stdout == ""
    assert server.stored in (None, STORED, {**STORED, "id": "t"})
