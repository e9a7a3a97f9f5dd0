"""Generates a Google Cloud billing export: the standard usage cost table, the same for the same last day.

It holds what makes real exports hard: rows that come days late, credits, tax, corrections, rounding errors, rows that
are equal and still not doubled by mistake, costs of zero, numbers that no binary fraction meets exactly, and nulls and
empty lists wherever they may be. Like a real one at midnight, it lacks what Google hasn't written yet.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from pipeline_local.quickstart import price_list as prices
from pipeline_local.quickstart.columns import Flags, Integers, constant, only, pick, record
from pipeline_local.quickstart.details import credit_lists, label_lists, projects, tag_lists
from pipeline_local.quickstart.metering import Metering

DAYS = 10
ROWS_PER_DAY = 6_000
CURRENCY = "USD"

_SEED = 20_041_201
_COST_TYPES = ("regular", "tax", "adjustment", "rounding_error")
_COST_TYPE_SHARES = (0.975, 0.012, 0.006, 0.007)
_LATE_SHARE = 0.02
_LATEST_DAYS = 8
_DUPLICATE_SHARE = 0.005
_MICROSECONDS = pa.timestamp("us", tz="UTC")
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_INVOICES_IN = ZoneInfo("America/Los_Angeles")


def billing_export(last_day: date, *, days: int = DAYS, rows_per_day: int = ROWS_PER_DAY) -> pa.Table:
    """The export of the `days` up to `last_day`, as it stands at the midnight that ends it.

    A day's rows are the same whatever the window, so the export of tomorrow holds that of today. About 1 in 20 rows of
    the last day, and fewer of those before, are left out because they are exported later.
    """
    midnight = _microseconds(last_day) + _DAY
    all_days = [last_day - timedelta(days=back) for back in reversed(range(days))]
    export = pa.concat_tables([_day(day, rows_per_day) for day in all_days])
    return export.filter(pa.compute.less(export["export_time"], pa.scalar(midnight, pa.int64()).cast(_MICROSECONDS)))


def _day(day: date, rows: int) -> pa.Table:
    generator = np.random.default_rng([_SEED, day.toordinal()])
    kinds = generator.choice(len(_COST_TYPES), rows, p=_COST_TYPE_SHARES)
    regular, adjusted = kinds == 0, kinds == 2
    metering = Metering.draw(generator, kinds)
    hours = generator.integers(0, 24, rows)
    begun = _microseconds(day) + np.where(regular, hours, 0) * _HOUR
    ended = begun + np.where(regular, _HOUR, _DAY)
    table = pa.table(
        {
            "billing_account_id": constant(prices.BILLING_ACCOUNT, rows),
            "service": metering.services(),
            "sku": metering.skus(),
            "usage_start_time": _times(begun),
            "usage_end_time": _times(ended),
            "project": projects(generator, rows),
            "labels": label_lists(generator, rows, prices.LABELS, shares=(0.45, 0.25, 0.2, 0.1)),
            "system_labels": label_lists(generator, rows, prices.SYSTEM_LABELS, shares=(0.7, 0.1, 0.1, 0.1)),
            "location": _locations(generator, regular),
            "tags": tag_lists(generator, rows),
            "export_time": _times(_exported(generator, begun, adjusted)),
            "cost": pa.array(metering.cost),
            "currency": constant(CURRENCY, rows),
            "currency_conversion_rate": pa.array(np.ones(rows)),
            "usage": metering.usage(),
            "credits": credit_lists(generator, np.where(regular, metering.cost, 0.0)),
            "invoice": record(month=_invoice_months(day, begun), publisher_type=constant("GOOGLE", rows)),
            "cost_type": pick(_COST_TYPES, kinds),
            "adjustment_info": _adjustments(generator, adjusted),
            "price": metering.price(),
            "cost_at_list": only(regular, pa.array(metering.cost_at_list)),
            "transaction_type": constant("GOOGLE", rows),
            "seller_name": constant("Google LLC", rows),
            "subscription": record(instance_id=constant(None, rows)),
        }
    )
    again = generator.choice(rows, int(rows * _DUPLICATE_SHARE))
    return table.take(pa.array(np.sort(np.concatenate((np.arange(rows), again)))))


def _exported(generator: np.random.Generator, begun: Integers, adjusted: Flags) -> Integers:
    """When each row reaches the export: mostly within hours of its usage, some late, corrections days later."""
    rows = len(begun)
    hours = 1.2 + generator.exponential(0.7, rows)
    late = adjusted | (generator.random(rows) < _LATE_SHARE)
    days = np.where(late, generator.integers(1, _LATEST_DAYS + 1, rows), 0)
    # Google writes in batches, so many rows share one time
    exported: Integers = begun + days * _DAY + (hours * 12).astype(np.int64) * (_HOUR // 12)
    return exported


def _invoice_months(day: date, begun: Integers) -> pa.Array:
    """The month that each row is invoiced in: that of its usage in Google's own time zone, so hours behind UTC's."""
    hours = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC).astimezone(_INVOICES_IN) for hour in range(24)]
    return pick([f"{hour:%Y%m}" for hour in hours], (begun - _microseconds(day)) // _HOUR)


def _locations(generator: np.random.Generator, regular: Flags) -> pa.Array:
    chosen = np.where(regular, generator.integers(0, len(prices.LOCATIONS), len(regular)), len(prices.LOCATIONS) - 1)
    names = ("location", "country", "region", "zone")
    return record(**{name: pick([each[i] for each in prices.LOCATIONS], chosen) for i, name in enumerate(names)})


def _adjustments(generator: np.random.Generator, adjusted: Flags) -> pa.Array:
    """A record that is null itself where there is no adjustment."""
    chosen = generator.integers(0, len(prices.ADJUSTMENTS), len(adjusted))
    names = ("id", "description", "mode", "type")
    columns = {name: pick([each[i] for each in prices.ADJUSTMENTS], chosen) for i, name in enumerate(names)}
    return only(adjusted, record(**columns))


def _microseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def _times(microseconds: Integers) -> pa.Array:
    return pa.array(microseconds.astype(np.int64)).cast(_MICROSECONDS)
