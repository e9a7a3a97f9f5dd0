"""What the API server's answers mean: a refusal of this request, or a server that can't answer now."""

import json

import pytest

from pipeline_core.kube.api import KubeError, KubeUnavailableError, _answer


def answer(status: int, reason: str, message: str = "m") -> None:
    _answer("POST", "/x", status, json.dumps({"reason": reason, "message": message}).encode())


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "BadRequest"), (403, "Forbidden"), (409, "AlreadyExists"), (413, "RequestEntityTooLarge"),
     (500, "InternalError")],
)  # fmt: skip
def test_a_refusal_of_the_request(status: int, reason: str) -> None:
    with pytest.raises(KubeError) as caught:
        answer(status, reason)
    assert (caught.value.status, caught.value.reason) == (status, reason)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "TooManyRequests"), (500, ""), (500, "ServerTimeout"), (503, "ServiceUnavailable"), (504, "Timeout")],
)
def test_a_server_that_cannot_answer_now(status: int, reason: str) -> None:
    with pytest.raises(KubeUnavailableError):
        answer(status, reason)


def test_a_proxys_words_are_an_outage() -> None:
    with pytest.raises(KubeUnavailableError, match="bad gateway"):
        _answer("GET", "/x", 502, b"bad gateway")
