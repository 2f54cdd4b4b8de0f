"""Letting everything run that can run now."""

from __future__ import annotations

import asyncio

__all__ = ["let_run"]

#: Turns after which somebody who is never done is not waited for.
_MOST_TURNS = 100_000
#: Turns of an event loop that does not tell what is ready.
_TURNS = 30


async def let_run(loop: asyncio.AbstractEventLoop) -> None:
    """Return when nothing is ready to run in `loop` but the caller.

    Two looks in a row must say so: a timer that is due becomes ready only in the turn after it was set.
    """
    ready = getattr(loop, "_ready", None)
    if ready is None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return
    quiet = 0
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        quiet = 0 if ready else quiet + 1
        if quiet == 2:
            return
