"""What else counts for an event that is held: what waits with it, what is remembered, and which runs are in its way."""

from __future__ import annotations

import orjson

from tidemill.api.admission_steps import Company
from tidemill.api.parts import Parts
from tidemill.storage.contract import HeldEvent

__all__ = ["company_of"]

#: Held events and runs that are looked through for those that wait together with one.
_LOOKED = 20_000
_PAGE = 5000
#: Runs that are named.
_NAMED = 5


async def company_of(parts: Parts, held: HeldEvent) -> Company:
    """What waits together with it, what is remembered of its key, and which runs hold what it waits for."""
    admissions = parts.store.admissions
    together: list[HeldEvent] = []
    after, looked = (0, ""), 0
    while looked < _LOOKED and (page := await admissions.held(after=after, limit=_PAGE)):
        place = (held.trigger, held.stage, held.key)
        together += [one for one in page if (one.trigger, one.stage, one.key) == place]
        after, looked = (page[-1].position, page[-1].trigger), looked + len(page)
    remembered = await admissions.recall([(held.trigger, held.stage, held.key)])
    running = await _running(parts, held) if held.stage == "concurrency" else ()
    return Company(held=together, remembered=next(iter(remembered), None), running=running)


async def _running(parts: Parts, held: HeldEvent) -> list[str]:
    found: list[str] = []
    after, looked = "", 0
    while looked < _LOOKED and (page := await parts.store.admissions.open_runs(after=after, limit=_PAGE)):
        found += [
            run
            for run, trigger, keys in page
            if trigger == held.trigger and orjson.loads(keys)["slot"] == held.key
        ]
        after, looked = page[-1][0], looked + len(page)
    return found[:_NAMED]
