"""Where the API server is away, loses its answer or refuses, a run's slot is given back once it surely isn't made."""

import pytest

from pipeline_bridge.problems import Problem
from pipeline_core.kube.api import KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import StoreUnavailableError
from support.bridge_and_operator import KEY, Both
from support.bridge_faults import kubernetes


async def test_without_kubernetes_the_slot_is_given_back_at_once(both: Both) -> None:
    kubernetes(both, KubeNotReachedError("no connection"))
    with pytest.raises(KubeNotReachedError):
        await both.post()
    (run_id,) = both.records.rows
    stored = both.stored(run_id)
    assert (stored.phase, stored.reason, stored.error_message) == (
        Phase.FAILED,
        "Rejected",
        "The Kubernetes API couldn't be reached",
    )
    assert both.held() == []
    assert both.ledger.usage("acme").day_used == 0


async def test_where_it_isnt_known_whether_the_run_was_made_its_id_is_told(both: Both) -> None:
    kubernetes(both, KubeUnavailableError("no answer from 10.0.0.1"))
    with pytest.raises(Problem) as refused:
        await both.post()
    (run_id,) = both.held()
    problem = refused.value
    assert (problem.status, problem.reason) == (503, "KubernetesUnavailable")
    assert problem.headers == {"Retry-After": "5"}
    assert problem.members == {"run_id": run_id}
    assert "10.0.0.1" not in problem.detail


async def test_a_name_that_another_object_has_isnt_taken_for_the_run(both: Both) -> None:
    def forge(part: str, _method: str, after: bool) -> None:
        if part == "cluster" and not after and not both.objects():
            both.apply(both.stored(both.held()[0]).object_name or "", runId="run_another")

    both.fault = forge
    with pytest.raises(KubeError, match="already exists"):
        await both.post(KEY)
    assert both.held() == []
    (run_id,) = both.records.rows
    assert both.stored(run_id).error_message == "The PipelineRun wasn't made: another object has its name"
    again = await both.post(KEY)
    assert both.live() == both.held() == [again] != [run_id]


@pytest.mark.parametrize("befalls", [KubeUnavailableError("no answer"), KubeError(404, "NotFound", "deleted since")])
async def test_whose_a_name_is_that_cannot_be_read_isnt_known(both: Both, befalls: Exception) -> None:
    def fault(_part: str, method: str, _after: bool) -> None:
        if method == "create_run":
            raise KubeError(409, "AlreadyExists", "it is there")
        if method == "get_run" and not isinstance(befalls, KubeError):
            raise befalls

    both.fault = fault
    with pytest.raises(Problem) as refused:
        await both.post()
    assert both.held() == [refused.value.members["run_id"]]


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (403, "exceeded quota: runs", "exceeded quota: runs"),
        (422, "spec.org: no", "spec.org: no"),
        # Its own users are nobody else's business.
        (403, 'User "bridge" cannot create it', "The Kubernetes API refuses the bridge; an operator has to mend it"),
        (404, "no such path", "The Kubernetes API refuses the bridge; an operator has to mend it"),
    ],
)
async def test_a_run_that_the_api_server_refuses_ends_with_its_words(
    both: Both, status: int, message: str, told: str
) -> None:
    kubernetes(both, KubeError(status, "Forbidden", message))
    with pytest.raises(KubeError):
        await both.post()
    (run_id,) = both.records.rows
    assert both.stored(run_id).error_message == f"The PipelineRun wasn't made: {told}"
    assert both.held() == []


def loses_answer_before(both: Both, error: Exception) -> None:
    """The API server's first answer is lost, and the next call fails before it is carried out."""
    answers = [KubeUnavailableError("no answer"), error]

    def fault(part: str, _method: str, after: bool) -> None:
        if part == "cluster" and (after or len(answers) == 1):
            raise answers.pop(0)

    both.fault = fault


async def test_no_connection_after_a_lost_answer_says_nothing_about_the_run(both: Both) -> None:
    loses_answer_before(both, KubeNotReachedError("no connection"))
    with pytest.raises(Problem) as refused:
        await both.post()
    run_id = refused.value.members["run_id"]
    assert both.held() == [run_id]
    await both.come_to_rest()
    assert both.stored(str(run_id)).phase is Phase.COMPLETED


async def test_a_call_that_took_long_to_fail_isnt_made_again(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_bridge.making._AGAIN_WITHIN_SECONDS", 0.0)
    kubernetes(both, KubeUnavailableError("no answer"))
    with pytest.raises(Problem):
        await both.post()
    assert both.calls.count("cluster.create_run") == 1


async def test_a_refusal_after_a_lost_answer_says_nothing_about_the_run(both: Both) -> None:
    loses_answer_before(both, KubeError(403, "Forbidden", "exceeded quota: runs"))
    with pytest.raises(Problem) as refused:
        await both.post()
    run_id = refused.value.members["run_id"]
    await both.come_to_rest()
    assert both.stored(str(run_id)).phase is Phase.COMPLETED


async def test_the_slot_of_a_refused_run_is_healed_where_postgresql_is_away_by_then(both: Both) -> None:
    def fault(part: str, method: str, _after: bool) -> None:
        if part == "cluster":
            raise KubeNotReachedError("no connection")
        if method == "end_unmade":
            raise StoreUnavailableError("no connection")

    both.fault = fault
    with pytest.raises(Problem, match="ask for its status"):
        await both.post()
    assert len(both.held()) == 1
    await both.come_to_rest()
    assert both.held() == both.live() == []
