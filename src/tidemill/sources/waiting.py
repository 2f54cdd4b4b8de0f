"""How a sender that would wait is answered: 200 with what its events came to, else 202 and where to look."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.events.event import Event
from tidemill.sources import answers
from tidemill.sources.answers import Headers, Receive, Send
from tidemill.sources.outcomes import Outcome, Outcomes
from tidemill.storage.contract import Appended

__all__ = ["answer_in_time", "applied", "wait_for"]


async def wait_for(
    outcomes: Outcomes | None,
    appended: Sequence[tuple[Event, Appended]],
    *,
    seconds: int,
    receive: Receive,
) -> tuple[list[Outcome], int]:
    """What came of each event, and the seconds that were granted; 0 when it was not waited."""
    granted = 0 if outcomes is None else outcomes.granted(seconds, events=len(appended))
    if outcomes is None or not granted:
        return [Outcome() for _ in appended], 0
    return await outcomes.wait(appended, seconds=granted, receive=receive), granted


async def answer_in_time(
    outcomes: Outcomes | None,
    appended: Sequence[tuple[Event, Appended]],
    *,
    was_batch: bool,
    seconds: int,
    receive: Receive,
    send: Send,
) -> None:
    """Wait, as far as that is granted, and answer."""
    found, granted = await wait_for(outcomes, appended, seconds=seconds, receive=receive)
    parts = [answers.encode_outcome(one, each.runs) for (_, one), each in zip(appended, found, strict=True)]
    content = b'{"events":[%b]}' % b",".join(parts) if was_batch else parts[0]
    if granted and found and all(each.is_complete for each in found):
        await answers.send_answer(send, 200, content, headers=applied(granted))
        return
    await answers.send_answer(
        send, 202, content, headers=() if was_batch else (answers.location(appended[0][1]),)
    )


def applied(seconds: int) -> Headers:
    """Says that the preference was honoured (RFC 7240, section 3)."""
    return ((b"preference-applied", b"wait=%d" % seconds),)
