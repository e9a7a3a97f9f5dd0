"""How a run in the local cluster ended: the same everywhere it is told, with nothing of it left alive."""

from datetime import datetime

from support.installation import Installation, Manifest, condition


def ended(
    installation: Installation, name: str, reason: str, *words: str, phase: str = "Failed", seconds: int = 90
) -> Manifest:
    """The run's status once it has ended for this reason, with these words in its message.

    Object and record say the same, and nothing of the run is alive any more. Prints how long it took.
    """
    run = installation.await_end(name, seconds)
    status: Manifest = run["status"]
    succeeded = condition(run, "Succeeded")
    took = datetime.fromisoformat(status["completedAt"]) - datetime.fromisoformat(run["metadata"]["creationTimestamp"])
    tell(f"{name}: {status['phase']} ({succeeded['reason']}) after {took.seconds} s: {status['message']}")
    assert (status["phase"], succeeded["reason"]) == (phase, reason), status
    assert succeeded["status"] == ("True" if phase == "Completed" else "False")
    assert succeeded["message"] == status["message"]
    assert [word for word in words if word not in status["message"]] == [], status["message"]
    record = installation.record(status["runId"])
    assert record is not None
    assert (record.phase, record.reason, record.message) == (phase, reason, status["message"])
    assert record.error_message == (None if phase == "Completed" else status["message"])
    installation.eventually(lambda: installation.alive(status["runId"]) == [])
    return status


def waits(installation: Installation, name: str, *words: str) -> Manifest:
    """The run's status once its message has these words; fails if it ends instead."""

    def told() -> Manifest | None:
        status: Manifest = installation.get(name).get("status", {})
        assert "completedAt" not in status, status
        return status if all(word in status.get("message", "") for word in words) else None

    status: Manifest = installation.eventually(told)
    tell(f"{name}: {status['phase']}: {status['message']}")
    return status


def tell(line: str) -> None:
    """For whoever runs pytest with -s, or reads a failure."""
    print(f"\n{line}", flush=True)  # noqa: T201
