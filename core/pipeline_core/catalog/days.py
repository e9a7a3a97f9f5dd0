"""How many days a run takes whose caller named none: the types of `source.rescan_days` and `source.catch_up_days`.

Apart from the other shapes of a config, whose models would be a part of each runner's start.
"""

from typing import Annotated

from pydantic import Field

MAX_RESCAN_DAYS = 90
MAX_CATCH_UP_DAYS = 90

# The days that such a run covers; they end with its date.
RescanDays = Annotated[int, Field(ge=1, le=MAX_RESCAN_DAYS)]
# How far it looks back for a day that was missed, its own included; None means the most, 0 that it doesn't.
CatchUpDays = Annotated[int, Field(ge=0, le=MAX_CATCH_UP_DAYS)]
