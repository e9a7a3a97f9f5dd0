"""The schedules that the catalog offers an organization, as manifests: the same catalog makes the same bytes."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import yaml

from pipeline_core.catalog.snapshot import Catalog, PipelineConfig
from pipeline_core.errors import ParametersInvalidError
from pipeline_core.identifiers import OBJECT_NAME_MAX
from pipeline_core.kube import names
from pipeline_core.schedules.plan import plan_schedule
from pipeline_core.schedules.timetable import Timetable

MAX_STAGGER_SECONDS = 3_600
# Organizations' runs are spread over this part of the time between two ticks.
_SPREAD_OVER = 4
_HASH_DIGITS = 8
# Ticks of this year are looked at, whenever that is done: a week of hourly ones.
_FROM, _UNTIL, _TICKS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), 168


def manifests(
    catalog: Catalog, org: str, *, provider: str | None, namespace: str | None, time_zone: str
) -> dict[str, dict[str, Any]]:
    """A PipelineSchedule by its name for each config with a schedule, of one provider or of all; sorted by name.

    Raises RequestInvalidError where the organization's slug can't be, ParametersInvalidError where a pipeline needs a
    parameter that no schedule gives it.
    """
    found = {}
    for config in catalog.pipelines:
        section = config.content.schedule
        if section is None or provider not in {None, config.provider}:
            continue
        _check(catalog, org, config)
        name = _name(org, config)
        metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
        found[name] = {
            "apiVersion": names.API_VERSION,
            "kind": names.SCHEDULE_KIND,
            "metadata": metadata | {"labels": {names.LABEL_ORG: org, names.LABEL_PROVIDER: config.provider}},
            "spec": {
                "org": org,
                "provider": config.provider,
                "domain": config.domain,
                "pipeline": config.stem,
                "cronExpression": " ".join(section.default_cron.split()),
                "timeZone": time_zone,
                "enabled": section.enabled,
                "staggerSeconds": stagger_seconds(section.default_cron, time_zone),
            },
        }
    return dict(sorted(found.items()))


def to_yaml(manifest: dict[str, Any]) -> str:
    """The manifest as a document of YAML."""
    return yaml.safe_dump(manifest, sort_keys=False)


def stagger_seconds(expression: str, time_zone: str) -> int:
    """How far the schedules of many organizations are spread: a quarter of the shortest time between two ticks, and
    an hour at the most.
    """
    ticks = Timetable(expression, time_zone).upcoming(_FROM, _UNTIL, _TICKS)
    shortest = min((later - earlier for earlier, later in pairwise(ticks)), default=timedelta(days=1))
    return min(int(shortest.total_seconds()) // _SPREAD_OVER, MAX_STAGGER_SECONDS)


def _check(catalog: Catalog, org: str, config: PipelineConfig) -> None:
    what = {"provider": config.provider, "domain": config.domain, "pipeline": config.stem}
    try:
        plan_schedule(catalog, {}, org=org, **what, env="dev", logical_time=_FROM)
    except ParametersInvalidError as error:
        raise ParametersInvalidError(f"{config.path}: no run of its schedule could start: {error}") from None


def _name(org: str, config: PipelineConfig) -> str:
    """The name of the schedule: another one for each organization and pipeline, whatever else there is.

    The parts, unless nobody could tell them by it: `_` and what is between them are written alike. Then, and where they
    are too long, it is cut and ends in a hash of them.
    """
    parts = (org, config.provider, config.domain, config.stem)
    plain = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    shown_org, *shown = plain.rsplit("-", 3)
    if (shown_org.replace("-", "_"), *shown) == parts and len(plain) <= OBJECT_NAME_MAX:
        return plain
    suffix = "-" + hashlib.sha256("/".join(parts).encode()).hexdigest()[:_HASH_DIGITS]
    return plain[: OBJECT_NAME_MAX - len(suffix)].rstrip("-") + suffix
