"""Says what keeps pods from getting ready: their states, the last events, and the last words of what failed."""

from collections.abc import Iterator
from typing import Any

from pipeline_local.errors import LocalError
from pipeline_local.kubectl import Kubectl

_EVENTS = 8
_LOG_LINES = 15


def of_pods(kubectl: Kubectl) -> str:
    """A report on the namespace's pods, for the end of an error message; never raises LocalError itself."""
    try:
        pods = kubectl.read("pods")["items"]
        events = kubectl.read("events", "--sort-by=.lastTimestamp")["items"]
    except LocalError as error:
        return str(error)
    lines = ["pods:", *(f"  {_title(pod)}" for pod in pods), "last warnings:"]
    lines += [f"  {line}" for line in _warnings(events)][-_EVENTS:]
    for pod in pods:
        for status in _statuses(pod):
            if not status["ready"] and pod["status"].get("phase") != "Succeeded":
                lines += _log(kubectl, pod["metadata"]["name"], status["name"])
    return "\n".join(lines)


def _title(pod: dict[str, Any]) -> str:
    states = "; ".join(f"{each['name']}: {_state(each)}" for each in _statuses(pod))
    return f"{pod['metadata']['name']}: {pod['status'].get('phase', 'Unknown')} ({states or 'not scheduled'})"


def _state(status: dict[str, Any]) -> str:
    for kind, state in (status.get("state") or {}).items():
        details = [state.get("reason"), f"exit code {state['exitCode']}" if "exitCode" in state else None]
        told = " ".join(detail for detail in details if detail)
        restarts = f", {status['restartCount']} restarts" if status.get("restartCount") else ""
        return f"{kind}{f' {told}' if told else ''}{restarts}"
    return "unknown"


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())]


def _warnings(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if event.get("type") == "Warning":
            about = event["involvedObject"]
            yield f"{about['kind']}/{about['name']}: {event.get('reason')}: {event.get('message', '').strip()}"


def _log(kubectl: Kubectl, pod: str, container: str) -> list[str]:
    tail = (f"--container={container}", f"--tail={_LOG_LINES}")
    log = kubectl.attempt("logs", pod, *tail)
    if not log.stdout.strip():
        log = kubectl.attempt("logs", pod, *tail, "--previous")
    if not log.stdout.strip():
        return []
    return [f"log of {pod}, container {container}:", *(f"  {line}" for line in log.stdout.splitlines())]
