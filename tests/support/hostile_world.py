"""What a hostile world has ready: an outcome that may be lost, and Jobs deleted without their pods."""

from pipeline_core.outcome import Outcome
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)


def orphan(world: World) -> None:
    """Delete the run's Job and leave its pods."""
    job = world.status()["jobName"]
    world.kubernetes.remove("jobs", "default", job)  # kubectl delete job --cascade=orphan
