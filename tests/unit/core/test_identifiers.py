"""Names derived from a run's id are valid wherever they are used."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_core import identifiers

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@given(st.uuids())
def test_every_uid_gives_a_run_id_and_a_name_that_kubernetes_takes(uid: uuid.UUID) -> None:
    run_id = identifiers.run_id_from_uid(str(uid))
    name = identifiers.object_name(run_id)
    assert identifiers.RUN_ID.fullmatch(run_id)
    assert _DNS_LABEL.fullmatch(name)
    assert len(name) <= identifiers.OBJECT_NAME_MAX


@given(st.from_regex(identifiers.RUN_ID, fullmatch=True))
def test_every_run_id_fits(run_id: str) -> None:
    name = identifiers.object_name(run_id)
    assert _DNS_LABEL.fullmatch(name)
    assert len(name) <= identifiers.OBJECT_NAME_MAX


@pytest.mark.parametrize("run_id", ["", "run_", "run_A", "run-1", "job_1", "run_" + "a" * 49])
def test_what_is_no_run_id_is_refused_with_the_pattern(run_id: str) -> None:
    with pytest.raises(ValueError, match="isn't of the form"):
        identifiers.object_name(run_id)
