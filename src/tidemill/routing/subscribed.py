"""Subscriptions made by API as they are at one position of the log. Pure: no I/O, no clock.

1. A change counts for events after the position of the event that tells of it. The router begins with what the store
   says of its cursor and follows those events, so that routing again after a crash comes to the same deliveries.
2. A change costs its own rule: what changed lately is checked one by one, and filed with the others now and then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tidemill.errors import TidemillError
from tidemill.events.event import Event
from tidemill.events.lifecycle import Type
from tidemill.patterns.index import Index
from tidemill.patterns.rule import Rule
from tidemill.project.made import rule_of
from tidemill.routing.trees import may_match_trees
from tidemill.storage.contract import MadeSubscription

__all__ = ["Subscribed"]

logger = logging.getLogger(__name__)

#: Changed subscriptions that are checked one by one before all are filed again.
_RECENT = 32
_CHANGED = Type.SUBSCRIPTION_CHANGED.value


class Subscribed:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        #: Those that are not in the index as they are now.
        self._recent: dict[str, Rule | None] = {}
        self._index = Index({})
        self._for_trees: set[str] = set()

    @property
    def wants_trees(self) -> bool:
        """Whether one of them may match the end of a tree."""
        return bool(self._for_trees)

    def load(self, made: Iterable[MadeSubscription]) -> None:
        """Begin with what the store says."""
        self._rules, self._for_trees, self._recent = {}, set(), {}
        for one in made:
            self._set(one.id, _rule(one.id, orjson.loads(one.body)["subscription"]))
        self._file()

    def match(self, event: Event) -> list[str]:
        """Names of those that match, in no order."""
        if not self._rules:
            return []
        found = self._index.match(event)
        if self._recent:
            found = [name for name in found if name not in self._recent]
            found += [name for name, rule in self._recent.items() if rule is not None and rule.matches(event)]
        return found

    def follow(self, event: Event) -> str | None:
        """Take over what an event tells of a subscription; the name of one that was deleted by it."""
        if event.type != _CHANGED or not isinstance(event.data, dict):
            return None
        name = str(event.data.get("subscription"))
        if event.data.get("action") == "deleted":
            self._set(name, None)
            return name
        self._set(name, _rule(name, event.data.get("rule") or {}))
        return None

    def _set(self, name: str, rule: Rule | None) -> None:
        self._rules.pop(name, None)
        self._for_trees.discard(name)
        if rule is not None:
            self._rules[name] = rule
            if may_match_trees(rule):
                self._for_trees.add(name)
        self._recent[name] = rule
        if len(self._recent) > _RECENT + len(self._rules) // 8:
            self._file()

    def _file(self) -> None:
        self._index = Index(self._rules)
        self._recent = {}


def _rule(name: str, written: Mapping[str, Any]) -> Rule | None:
    """The rule, None for one that an older or newer Tidemill has written and this one does not understand."""
    try:
        return rule_of(written)
    except TidemillError as error:
        facts = {"subscription": name, "error": type(error).__name__}
        logger.error("subscription.unusable", extra=facts)
        return None
