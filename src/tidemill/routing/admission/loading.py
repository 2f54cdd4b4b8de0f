"""What admission reads back from the database when a router begins."""

from __future__ import annotations

import orjson

from tidemill.routing.admission.pipeline import LiveKeys
from tidemill.storage.contract import Admissions, HeldEvent

__all__ = ["PAGE", "keys_text", "read_held", "read_live"]

#: Rows read at once.
PAGE = 5000


async def read_held(store: Admissions) -> dict[str, list[HeldEvent]]:
    """Every held event by trigger."""
    found: dict[str, list[HeldEvent]] = {}
    after = (0, "")
    while page := await store.held(after=after, limit=PAGE):
        for row in page:
            found.setdefault(row.trigger, []).append(row)
        after = (page[-1].position, page[-1].trigger)
    return found


async def read_live(store: Admissions) -> dict[str, dict[str, LiveKeys]]:
    """What runs that have not ended hold, by trigger and run."""
    found: dict[str, dict[str, LiveKeys]] = {}
    after = ""
    while page := await store.open_runs(after=after, limit=PAGE):
        for run, trigger, text in page:
            body = orjson.loads(text)
            keys = LiveKeys(slot=body["slot"], open=body["open"], cancel=body["cancel"])
            found.setdefault(trigger, {})[run] = keys
        after = page[-1][0]
    return found


def keys_text(keys: LiveKeys | None) -> str | None:
    """What is kept with a run of what it holds; None for nothing."""
    if keys is None:
        return None
    return orjson.dumps({"slot": keys.slot, "open": keys.open, "cancel": keys.cancel}).decode()
