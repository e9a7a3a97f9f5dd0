"""The export's nested columns: projects, labels, tags and credits."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline_local.quickstart import price_list as prices
from pipeline_local.quickstart.columns import Floats, distinct, pick, record, repeated

_CREDIT_SHARES = (0.6, 0.32, 0.08)
_TAG_SHARES = (0.8, 0.15, 0.05)


def projects(generator: np.random.Generator, rows: int) -> pa.Array:
    """The column `project`, with the labels and ancestors of each."""
    weights = np.array(prices.PROJECT_WEIGHTS, dtype=np.float64)
    chosen = generator.choice(len(prices.PROJECTS), rows, p=weights / weights.sum())
    labels = [[{"key": key, "value": value} for key, value in each.labels] for each in prices.PROJECTS]
    ancestors = [_ancestors(each) for each in prices.PROJECTS]
    pair = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
    named = pa.list_(pa.struct([("resource_name", pa.string()), ("display_name", pa.string())]))
    return record(
        id=pick([each.id for each in prices.PROJECTS], chosen),
        number=pick([each.number for each in prices.PROJECTS], chosen),
        name=pick([each.name for each in prices.PROJECTS], chosen),
        labels=pick(labels, chosen, pair),
        ancestry_numbers=pick([_ancestry(each) for each in prices.PROJECTS], chosen),
        ancestors=pick(ancestors, chosen, named),
    )


def label_lists(
    generator: np.random.Generator, rows: int, pool: Sequence[tuple[str, str]], *, shares: Sequence[float]
) -> pa.Array:
    """Lists of labels, each key at most once; `shares` of the rows have none, one, two … of them."""
    lengths = generator.choice(len(shares), rows, p=shares)
    chosen = distinct(generator, lengths, len(pool))
    keys, values = [key for key, _ in pool], [value for _, value in pool]
    return repeated(lengths, record(key=pick(keys, chosen), value=pick(values, chosen)))


def tag_lists(generator: np.random.Generator, rows: int) -> pa.Array:
    """The column `tags`."""
    lengths = generator.choice(len(_TAG_SHARES), rows, p=_TAG_SHARES)
    chosen = distinct(generator, lengths, len(prices.TAGS))
    members = record(
        key=pick([tag[0] for tag in prices.TAGS], chosen),
        value=pick([tag[1] for tag in prices.TAGS], chosen),
        inherited=pick([tag[2] for tag in prices.TAGS], chosen, pa.bool_()),
        namespace=pick([tag[3] for tag in prices.TAGS], chosen),
    )
    return repeated(lengths, members)


def credit_lists(generator: np.random.Generator, cost: Floats) -> pa.Array:
    """The column `credits`: up to two on a row that costs something, each taking off a share of its cost."""
    lengths = np.where(cost > 0, generator.choice(len(_CREDIT_SHARES), len(cost), p=_CREDIT_SHARES), 0)
    chosen = distinct(generator, lengths, len(prices.CREDITS))
    shares = np.array([credit[4] for credit in prices.CREDITS])[chosen]
    members = record(
        name=pick([credit[0] for credit in prices.CREDITS], chosen),
        amount=pa.array(-np.repeat(cost, lengths) * shares),
        full_name=pick([credit[1] for credit in prices.CREDITS], chosen),
        id=pick([credit[2] for credit in prices.CREDITS], chosen),
        type=pick([credit[3] for credit in prices.CREDITS], chosen),
    )
    return repeated(lengths, members)


def _ancestry(project: prices.Project) -> str | None:
    """The numbers of organization and folder between slashes, as the export has them."""
    if project.id is None:
        return None
    above = [prices.ORGANIZATION[0], *([prices.FOLDERS[project.folder]] if project.folder else [])]
    return "".join(f"/{name.partition('/')[2]}" for name in above) + "/"


def _ancestors(project: prices.Project) -> list[dict[str, str | None]]:
    if project.id is None:
        return []
    chain = [(f"projects/{project.number}", project.name)]
    if project.folder:
        chain.append((prices.FOLDERS[project.folder], project.folder))
    chain.append(prices.ORGANIZATION)
    return [{"resource_name": name, "display_name": shown} for name, shown in chain]
