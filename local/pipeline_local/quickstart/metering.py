"""What was used and what it costs, row by row: amounts from distributions, costs from amounts and prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa

from pipeline_local.quickstart import price_list as prices
from pipeline_local.quickstart.columns import Flags, Floats, Integers, only, pick, record

_NUMERIC = pa.decimal128(38, 9)
_TAX_RATE = 0.19
_FREE_SHARE = 0.08
_ROUNDED_SHARE = 0.7
# What rows that aren't usage are booked on.
_INVOICE = ("Invoice", "Tax", "Rounding error")


@dataclass(frozen=True)
class Metering:
    """One day's rows. `kinds` counts off regular, tax, adjustment and rounding error; money is in dollars."""

    kinds: Integers
    sku: Integers
    amount: Floats
    cost: Floats
    cost_at_list: Floats

    @classmethod
    def draw(cls, generator: np.random.Generator, kinds: Integers) -> "Metering":
        """Draw the day's usage. Amounts are log-normal around each SKU's typical one."""
        rows = len(kinds)
        weights = np.array([sku.weight for sku in prices.SKUS], dtype=np.float64)
        sku = generator.choice(len(prices.SKUS), rows, p=weights / weights.sum())
        amount = np.floor(_of([each.size for each in prices.SKUS])[sku] * generator.lognormal(-0.5, 1.1, rows)) + 1.0
        priced = amount / _of([each.unit.each * each.quantity for each in prices.SKUS])[sku]
        usage = priced * _of([float(each.price) for each in prices.SKUS])[sku]
        usage = np.where(generator.random(rows) < _FREE_SHARE, 0.0, usage)
        # most costs are whole millionths of a dollar; the others have all the digits that a multiplication leaves
        usage = np.where(generator.random(rows) < _ROUNDED_SHARE, np.round(usage, 6), usage)
        other = (
            usage,
            np.round(usage * _TAX_RATE * 40, 2),
            -np.round(usage * generator.uniform(0.1, 3.0, rows), 4),
            generator.integers(-40, 41, rows) / 1e7,
        )
        at_list = priced * _of([float(each.list_price) for each in prices.SKUS])[sku]
        return cls(kinds, sku, amount, np.choose(kinds, other), at_list)

    def services(self) -> pa.Array:
        """The column `service`; tax and rounding errors belong to none of Google's."""
        names = [*(sku.service for sku in prices.SKUS), _INVOICE[0]]
        ids = [*(prices.SERVICES[sku.service] for sku in prices.SKUS), None]
        booked = np.where(self._is_usage, self.sku, len(prices.SKUS))
        return record(id=pick(ids, booked), description=pick(names, booked))

    def skus(self) -> pa.Array:
        """The column `sku`."""
        names = [*(sku.description for sku in prices.SKUS), *_INVOICE[1:]]
        ids = [*(sku.id for sku in prices.SKUS), None, None]
        booked = np.where(self._is_usage, self.sku, len(prices.SKUS) + (self.kinds == 3))
        return record(id=pick(ids, booked), description=pick(names, booked))

    def usage(self) -> pa.Array:
        """The column `usage`; null fields where nothing was used."""
        divisors = _of([sku.unit.each for sku in prices.SKUS])[self.sku]
        return record(
            amount=only(self._is_metered, pa.array(self.amount)),
            unit=only(self._is_metered, pick([sku.unit.name for sku in prices.SKUS], self.sku)),
            amount_in_pricing_units=only(self._is_metered, pa.array(self.amount / divisors)),
            pricing_unit=only(self._is_metered, pick([sku.unit.pricing for sku in prices.SKUS], self.sku)),
        )

    def price(self) -> pa.Array:
        """The column `price`."""
        zero = pick([Decimal(0)], np.zeros_like(self.sku), _NUMERIC)
        return record(
            effective_price=only(self._is_metered, pick([sku.price for sku in prices.SKUS], self.sku, _NUMERIC)),
            tier_start_amount=only(self._is_metered, zero),
            unit=only(self._is_metered, pick([sku.unit.pricing for sku in prices.SKUS], self.sku)),
            pricing_unit_quantity=only(
                self._is_metered, pick([Decimal(sku.quantity) for sku in prices.SKUS], self.sku, _NUMERIC)
            ),
        )

    @property
    def _is_metered(self) -> Flags:
        return np.equal(self.kinds, 0)

    @property
    def _is_usage(self) -> Flags:
        """Usage and its corrections."""
        return np.isin(self.kinds, (0, 2))


def _of(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)
