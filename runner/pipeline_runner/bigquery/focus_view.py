"""Keeps the organization's cost view, `costs_focus`, up to date with the provider tables that its dataset has.

Called after a publish. The view is a convenience over tables that stand already, so nothing here fails a run: what
goes wrong is a warning in its log, and the next run of any provider looks again.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

import structlog

from pipeline_core.focus.columns import MARK
from pipeline_core.focus.sql import text
from pipeline_core.focus.view import TABLES, VIEW, digest, focus_view, obstacles
from pipeline_runner.bigquery.columns import canonical
from pipeline_runner.bigquery.failures import explained
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.threads import in_thread
from pipeline_runner.bigquery.warehouse import REQUEST_SECONDS, Warehouse

_log = structlog.get_logger(__name__)

_READ_RIGHT = "bigquery.tables.get on the organization's dataset (role BigQuery Data Editor)"
_WRITE_RIGHT = (
    "bigquery.tables.create, bigquery.tables.update and bigquery.tables.getData on the organization's dataset "
    "(role BigQuery Data Editor)"
)
_LABEL = "pipelines-definition"
_DESCRIPTION = "Costs of all providers in the columns of FOCUS 1.4. Pipelines makes this view and replaces it."
# Each look but the last finds that another run has changed something meanwhile; there are but four tables.
_LOOKS = 6
_SECONDS = 60.0


async def ensure_focus_view(warehouse: Warehouse, dataset: str, location: str) -> bool:
    """Write the view of a dataset (project.dataset) where it isn't what the tables ask for. Whether it now is.

    Once for each run: its jobs are named by the run. A table or view of that name that somebody else has made is left
    alone. Never raises, not even where the run is told to stop: its rows are published, so it has succeeded.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await _ensure(warehouse, dataset, location)
    except asyncio.CancelledError:
        _log.info("stopped before the cost view was up to date", view=f"{dataset}.{VIEW}")
        return False
    except Exception as error:
        _log.warning("the cost view couldn't be made", view=f"{dataset}.{VIEW}", error=str(error) or repr(error))
        return False


async def _ensure(warehouse: Warehouse, dataset: str, location: str) -> bool:
    """Look, write, and look again until there is nothing to write.

    Two runs at once may each know but one of two new tables. Whoever writes last looks once more after that, when both
    tables are there, so the view ends over both.
    """
    project, _, name = dataset.rpartition(".")
    written = ""
    for number in range(1, _LOOKS + 1):
        found = await _look(warehouse, dataset)
        there = found.pop(VIEW, None)
        wanted = focus_view(project, name, {table: _columns(each) for table, each in found.items()})
        if wanted is None:
            return False
        if there is not None and not _is_ours(there):
            _log.warning("left alone, since it isn't the cost view but somebody else's", view=f"{dataset}.{VIEW}")
            return False
        if there is not None and _LABEL not in there.labels and digest(wanted) == written:
            there = await _labelled(warehouse, there, written)
        if there is not None and there.labels.get(_LABEL) == digest(wanted):
            _tell_left_out(dataset, found)
            return True
        await warehouse.query(
            f"focus_view_{number}",
            _statement(f"{dataset}.{VIEW}", wanted),
            location=location,
            what=f"making view {dataset}.{VIEW}",
            right=_WRITE_RIGHT,
            wants_rows=False,
        )
        # crash here: the next run of any provider finds the view as it should be, or writes it
        written = digest(wanted)
    raise RuntimeError(f"{dataset}.{VIEW} was different after each of {_LOOKS} looks")


def _statement(view: str, wanted: str) -> str:
    """Makes the view, with the digest of its definition as a label, which is set by the same statement."""
    options = f"description = {text(_DESCRIPTION)}, labels = [('{_LABEL}', '{digest(wanted)}')]"
    return f"CREATE OR REPLACE VIEW `{view}`\nOPTIONS ({options}) AS\n{wanted}"


async def _labelled(warehouse: Warehouse, view: bigquery.Table, value: str) -> bigquery.Table:
    """Label a view that was just made without its options, as the stand-in makes views. BigQuery has labelled it."""
    view.labels = {_LABEL: value}
    with explained(f"labelling view {view.reference}", right=_WRITE_RIGHT):
        return await in_thread(lambda: warehouse.client.update_table(view, ["labels"], timeout=REQUEST_SECONDS))


async def _look(warehouse: Warehouse, dataset: str) -> dict[str, bigquery.Table]:
    """The tables of the view that are there, and the view itself."""
    names = (VIEW, *TABLES)
    tables = await asyncio.gather(
        *(warehouse.table(f"{dataset}.{each}", what="table", right=_READ_RIGHT) for each in names)
    )
    return {name: table for name, table in zip(names, tables, strict=True) if table is not None}


def _is_ours(view: bigquery.Table) -> bool:
    return view.table_type == "VIEW" and {name.lower() for name in MARK} <= _columns(view).keys()


def _columns(table: bigquery.Table) -> dict[str, str]:
    """The types of all columns by paths in lower case, as BigQuery's names ignore case."""
    return dict(_paths(table.schema))


def _paths(fields: Iterable[bigquery.SchemaField], above: str = "") -> Iterator[tuple[str, str]]:
    for field in fields:
        here = f"{above}{field.name.lower()}{'[]' * (field.mode == 'REPEATED')}"
        yield here, canonical(field.field_type)
        yield from _paths(field.fields, f"{here}.")


def _tell_left_out(dataset: str, tables: Mapping[str, bigquery.Table]) -> None:
    for name, table in tables.items():
        if found := obstacles(name, _columns(table)):
            _log.warning("not in the cost view, as its columns don't fit", table=f"{dataset}.{name}", columns=found)
