"""Garbage collection as the long-running processes want it: seldom, and not of what their imports made."""

import gc

# New objects from one collection to the next: parsed JSON is many, and none of it is garbage in cycles.
_COLLECT_AFTER = 5_000


def collect_seldom() -> None:
    """Leave what is there by now out of collections, and look for cycles less often: there are few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
