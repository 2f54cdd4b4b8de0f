"""What can be done with a dead letter, each once: edited, redriven through the stage where it stopped, discarded.

1. An action and what follows from it (the event appended, the delivery pending again) are one transaction.
2. Redriving or discarding a letter again is answered as the first time; of two who act at once one is told to look
   again.
3. What is redriven carries an identity that follows from the letter, so that no run is started twice by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.api import json_patch
from tidemill.api.parts import Parts
from tidemill.api.problems import Invalid
from tidemill.errors import CursorMoved, EventRejected, NotFound, StateConflict
from tidemill.events import json_format, json_text, lifecycle, validate
from tidemill.events.digest import encode_for_log
from tidemill.events.event import Event
from tidemill.storage.contract import ActionKind, DeadLetter, LetterAction, LetterState

__all__ = ["discard", "edit", "find", "redrive"]

#: Triggers that stand for events which name their DAG themselves.
_ADDRESSED = frozenset({"schedule", "manual", "retry"})


async def find(parts: Parts, letter_id: str) -> DeadLetter:
    """The letter; raises `NotFound`."""
    letter = await parts.store.dead_letters.get(letter_id)
    if letter is None:
        raise NotFound("dead letter", letter_id)
    return letter


async def edit(parts: Parts, letter: DeadLetter, patch: Any, *, by: str, reason: str) -> None:
    """Keep a new version of the letter's event, checked as every event is; the bytes as they came stay.

    Raises `StateConflict` when the letter is not open, `Invalid` for a patch that cannot be applied or an event that is
    no event then, or not the one that the letter is about.
    """
    _require_open(letter)
    body = await parts.store.dead_letters.current(letter.id) or b""
    try:
        changed = json_patch.apply(_document(body), patch)
        event = json_format.from_json(changed)
        _check_type(letter, event)
        _check_schema(parts, event)
    except json_patch.PatchFailed as error:
        raise Invalid("invalid_patch", "the patch cannot be applied", [_problem("", str(error))]) from error
    except EventRejected as error:
        problems = [_problem(error.attribute or "", f"{error.code}: {error.detail}")]
        raise Invalid("invalid_event", "what the patch makes is no event", problems) from error
    _check_identity(letter, event)
    if len(encoded := encode_for_log(event)) > parts.settings.max_body_bytes:
        raise Invalid("invalid_event", "the event is too large", [_problem("", "more than max_body_bytes")])
    await _act(parts, letter, ActionKind.EDITED, by=by, reason=reason, detail={"patch": patch}, body=encoded)


async def discard(parts: Parts, letter: DeadLetter, *, by: str, reason: str) -> None:
    """Say that nothing more is to come of the letter; it stays for those who look."""
    if letter.state != LetterState.DISCARDED:
        _require_open(letter)
        await _act(parts, letter, ActionKind.DISCARDED, by=by, reason=reason)


async def redrive(parts: Parts, letter: DeadLetter, *, by: str, reason: str) -> None:
    """Send the letter's newest version through the stage where it stopped; durable on return.

    Raises `StateConflict` where that stage does not take it any more, `EventRejected` where it is refused again.
    """
    if letter.state == LetterState.REDRIVEN:
        return
    _require_open(letter)
    match letter.stage:
        case "delivery":
            if letter.position is None or not await _has_subscription(parts, letter.origin):
                raise StateConflict(f"there is no subscription {letter.origin!r} any more")
            place = (letter.origin, letter.position)
            await _act(parts, letter, ActionKind.REDRIVEN, by=by, reason=reason, deliver=place)
        case "routing" if letter.code == "data_lost":
            raise StateConflict("put the data back where it was, then replay the event to its triggers")
        case "routing":
            event = json_format.decode(await parts.store.dead_letters.current(letter.id) or b"")
            _check_trigger(parts, letter.origin, event)
            again = lifecycle.redriven(
                event, letter=letter.id, position=letter.position or 0, trigger=letter.origin
            )
            await _act(parts, letter, ActionKind.REDRIVEN, by=by, reason=reason, append=again)
        case _:
            event = await _read_again(parts, letter)
            await _act(parts, letter, ActionKind.REDRIVEN, by=by, reason=reason, append=event)


async def _act(
    parts: Parts,
    letter: DeadLetter,
    kind: ActionKind,
    *,
    by: str,
    reason: str,
    detail: Mapping[str, Any] | None = None,
    body: bytes | None = None,
    append: Event | None = None,
    deliver: tuple[str, int] | None = None,
) -> None:
    letters = parts.store.dead_letters
    earlier = await letters.actions(letter.id)
    if any(one.kind is not ActionKind.EDITED for one in earlier):  # since the letter was read
        await _settle(parts, letter, kind)
        return
    action = LetterAction(
        letter=letter.id,
        number=len(earlier) + 1,
        at=parts.clock.now_us(),
        by=by,
        kind=kind,
        reason=reason,
        detail=detail or ({} if append is None else {"source": append.source, "id": append.id}),
        body=body,
    )
    try:
        await letters.act(action, append=append, deliver=deliver)
    except CursorMoved:
        await _settle(parts, letter, kind)


async def _settle(parts: Parts, letter: DeadLetter, kind: ActionKind) -> None:
    """Somebody else has acted: fine where it was the same (or our own answer was lost), else a conflict."""
    now = await find(parts, letter.id)
    if kind is ActionKind.EDITED or now.state != kind.value:
        raise StateConflict("somebody else has just acted on this dead letter; look at it again")


async def _read_again(parts: Parts, letter: DeadLetter) -> Event:
    """The event of a letter that never was in the log."""
    actions: Sequence[LetterAction] = await parts.store.dead_letters.actions(letter.id)
    edited = next((one.body for one in reversed(actions) if one.body is not None), None)
    event = parts.decode_letter(letter) if edited is None else json_format.decode(edited)
    _check_schema(parts, event)
    return event


async def _has_subscription(parts: Parts, name: str) -> bool:
    if any(one.name == name for one in parts.project().subscriptions):
        return True
    return await parts.store.subscriptions.get(name) is not None


def _check_trigger(parts: Parts, name: str, event: Event) -> None:
    trigger = next((one for one in parts.project().triggers if one.name == name), None)
    if trigger is None and name not in _ADDRESSED:
        raise StateConflict(f"there is no trigger {name!r} any more")
    if trigger is not None and not trigger.rule.matches(event):
        raise StateConflict(f"trigger {name!r} does not match the event as it is now")


def _require_open(letter: DeadLetter) -> None:
    if letter.state != LetterState.OPEN:
        raise StateConflict(f"the dead letter is {letter.state}")


def _document(body: bytes) -> Any:
    """The bytes as JSON; null where they are none, so that a patch can put an event in their place."""
    try:
        return json_text.parse(body, envelope=1)
    except EventRejected:
        return None


def _check_type(letter: DeadLetter, event: Event) -> None:
    """An event from outside does not become one of our own by an edit."""
    try:
        before = json_format.decode(letter.body).type
    except EventRejected:
        before = ""
    if event.type != before:
        validate.refuse_reserved(event)


def _check_schema(parts: Parts, event: Event) -> None:
    """What comes in by this door is asked what sources ask; events of our own are not."""
    if not event.type.startswith(lifecycle.RESERVED_PREFIX):
        parts.project().door.check(event)


def _check_identity(letter: DeadLetter, event: Event) -> None:
    """An event that is in the log keeps its identity: by that a run is started once."""
    if letter.position is None or not letter.body:
        return
    first = json_format.decode(letter.body)
    problems = [
        _problem(name, "stays as it is: the event is in the log")
        for name in ("id", "source")
        if event.attribute(name) != first.attribute(name)
    ]
    if problems:
        raise Invalid("invalid_event", "the event would be another one", problems)


def _problem(location: str, detail: str) -> dict[str, object]:
    return {"location": location, "detail": detail}
