"""Deliveries: each subscriber gets each event that it asked for, in order where it asked for that, never early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tidemill.testing.simulation.evidence import Evidence
from tidemill.testing.simulation.observed import Receipt
from tidemill.testing.simulation.scenario import Scenario, SubscriptionSpec

__all__ = ["broken"]

#: Least seconds before the second attempt and those after it.
_LEAST_SECONDS = (4, 240, 1_440)
#: Attempts at what a receiver refuses.
_REFUSALS = 3
_ACCEPTED = ("accepted", "unanswered")


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong with deliveries."""
    positions = {(event.source, event.id): event.position for event in evidence.events}
    for subscription in scenario.subscriptions:
        receipts: dict[int, list[Receipt]] = defaultdict(list)
        for receipt in evidence.observed.receipts:
            if receipt.subscription == subscription.name:
                position = positions.get((receipt.source, receipt.id))
                if position is None:
                    yield f"delivery: {receipt.id} was delivered and is not in the log"
                else:
                    receipts[position].append(receipt)
        wanted = [event.position for event in evidence.events if event.type.startswith(subscription.prefix)]
        for position in sorted(receipts.keys() - set(wanted)):
            yield f"delivery: {subscription.name} got position {position}, which it did not ask for"
        for position in wanted:
            for what in _one(subscription, position, receipts.get(position, []), evidence):
                yield f"delivery: {subscription.name} position {position}: {what}"
        if subscription.ordered:
            yield from _order(subscription, receipts)


def _one(
    subscription: SubscriptionSpec, position: int, receipts: list[Receipt], evidence: Evidence
) -> Iterator[str]:
    state, attempts = evidence.deliveries.get((position, subscription.name), ("absent", 0))
    fates = [receipt.fate for receipt in receipts]
    if state == "delivered":
        if not any(receipt.fate == "accepted" and receipt.answered_us is not None for receipt in receipts):
            yield f"it is marked as delivered, and its receiver has {fates}"
    elif state == "dead_lettered":
        letters = sum(stage == "delivery" and at == position for stage, _, at, _ in evidence.letters)
        if not letters:
            yield "it was given up without a dead letter"
        enough = _REFUSALS if "refused" in fates else subscription.max_attempts
        if attempts < min(enough, subscription.max_attempts):
            yield f"it was given up after {attempts} attempts"
    else:
        yield f"it is {state}"
    if evidence.observed.jumps:
        return
    for earlier, later in pairwise(receipts):
        if later.attempt == earlier.attempt + 1 and earlier.answered_us is not None:
            least = _LEAST_SECONDS[min(earlier.attempt, len(_LEAST_SECONDS)) - 1] * 1_000_000
            if later.at_us - earlier.answered_us < least:
                yield f"attempt {later.attempt} came {later.at_us - earlier.answered_us} us after the one before"


def _order(subscription: SubscriptionSpec, receipts: dict[int, list[Receipt]]) -> Iterator[str]:
    before, last = 0, -1
    for position in sorted(receipts):
        first = min(receipt.at_us for receipt in receipts[position])
        if first < last:
            yield f"delivery: {subscription.name}: position {position} came before {before} was settled"
        before, last = position, max(receipt.at_us for receipt in receipts[position])
