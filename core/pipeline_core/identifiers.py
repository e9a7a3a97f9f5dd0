"""Identifiers: their patterns, and the names derived from a run's id.

Every name made for a run is a function of its id, so a step can be repeated after a crash and finds what it made.
"""

import re
from uuid import UUID

# It names BigQuery datasets, which allow no hyphen, and is the value of labels, which end in a letter or a digit.
ORG_SLUG = re.compile(r"[a-z][a-z0-9_]{0,61}[a-z0-9]")
# A provider, domain, pipeline stem or parameter name.
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
ENV = re.compile(r"[a-z0-9]{1,16}")
RUN_ID = re.compile(r"run_[a-z0-9]{1,48}")

# Job and pod names end in a suffix that Kubernetes adds; 52 characters leave room for it within 63.
OBJECT_NAME_MAX = 52


def run_id_from_uid(uid: str) -> str:
    """The id of a run made by `kubectl apply`: `run_` and the 32 hexadecimal digits of its object's UID.

    Raises ValueError if `uid` is no UUID.
    """
    return f"run_{UUID(uid).hex}"


def schedule_id(uid: str) -> str:
    """The id of a schedule, `sch_` and the digits of its object's UID. Raises ValueError if `uid` is no UUID."""
    return f"sch_{UUID(uid).hex}"


def object_name(run_id: str) -> str:
    """The DNS-safe form of a run id, at most 52 characters: `run_ab12` becomes `run-ab12`.

    It names the run's Job, and the PipelineRun itself where the bridge makes one. Raises ValueError if `run_id`
    isn't a run id.
    """
    if not RUN_ID.fullmatch(run_id):
        raise ValueError(f"run id {run_id!r} isn't of the form {RUN_ID.pattern}")
    return run_id.replace("_", "-")


# The table of an organization's dataset in which each run that publishes leaves a marker, in the same transaction.
COMMITS_TABLE = "_pipelines_commits"


def dataset_name(org_slug: str, env: str) -> str:
    """The organization's dataset in BigQuery, `{org_slug}_{env}`."""
    return f"{org_slug}_{env}"
