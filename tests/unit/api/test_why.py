"""What can be said of an event of which not everything is kept."""

from __future__ import annotations

from typing import Any

from tidemill.storage.contract import Disposition, DispositionKind, RouteBatch


async def test_event_without_kept_definitions_is_told_from_what_became_of_it(surface: Any) -> None:
    (position,) = await surface.append("a")
    dispositions = [
        Disposition(position, "orders", DispositionKind.RUN, "gone"),
        Disposition(position, "others", DispositionKind.DEAD_LETTERED, None, "letter"),
    ]
    await surface.store.runs.route(RouteBatch(expected=0, cursor=position, dispositions=dispositions))

    found = (await surface.client.get(f"/api/v1/events/{position}/why")).json()

    orders, others = found["triggers"]
    assert (found["routed"], found["kept"], found["version"]) == (True, False, None)
    assert "not kept" in found["told"]
    assert (orders["became"], orders["explanation"], orders["run"]["id"]) == ("run", None, "gone")
    assert orders["run"]["state"] is None
    assert "dead letter letter, which is not kept" in others["told"]


async def test_triggers_cannot_be_paused_where_nobody_keeps_that(surface: Any) -> None:
    answer = await surface.client.post("/api/v1/triggers/nobody/pause")
    listed = (await surface.client.get("/api/v1/triggers")).json()

    assert answer.status_code == 404
    assert listed == {"items": [], "first": 1, "last": 0}
