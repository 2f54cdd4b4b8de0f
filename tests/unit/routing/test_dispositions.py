"""Routing against a naive matcher: all triggers, one after the other, each event by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill import dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.filters import compile_filters
from tidemill.project.mapping import compile_mapping
from tidemill.project.model import Project, Subscription, Trigger, WebhookSink
from tidemill.routing.dispositions import Routed, Routes
from tidemill.storage.contract import DispositionKind


@task
async def nothing(value: int) -> None:
    return None


@dag
def work(value: int) -> Any:
    return nothing(value)


BUILT = build(work)
assert isinstance(BUILT, Dag)
DAGS = {"work": BUILT}

words = st.sampled_from(["a", "ab", "abc", "b", "bc"])
attributes = st.sampled_from(["type", "source", "subject", "extra"])
filters: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.builds(
        lambda dialect, name, value: {dialect: {name: value}},
        st.sampled_from(["exact", "prefix", "suffix"]),
        attributes,
        words,
    ),
    lambda inner: st.one_of(
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda many: {"all": many}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda many: {"any": many}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
events = st.builds(
    lambda kind, source, subject, extra, data, hops: Event(
        id="1",
        source=source,
        type=kind,
        subject=subject,
        data=data,
        extensions={
            **({} if extra is None else {"extra": extra}),
            **({} if hops is None else {"hopcount": hops}),
        },
    ),
    words,
    words,
    st.none() | words,
    st.none() | words,
    st.sampled_from([{"v": 1}, {"v": "x"}, {}, None]),
    st.sampled_from([None, 16, 17, "17", "x"]),
)


def matches(written: dict[str, Any], event: Event) -> bool:
    """What a filter says, read word by word from the CloudEvents Subscriptions specification."""
    ((dialect, value),) = written.items()
    match dialect:
        case "not":
            return not matches(value, event)
        case "all":
            return all(matches(one, event) for one in value)
        case "any":
            return any(matches(one, event) for one in value)
    ((name, wanted),) = value.items()
    found = event.attribute(name)
    if found is None:
        return False
    text = str(found)
    return {"exact": text == wanted, "prefix": text.startswith(wanted), "suffix": text.endswith(wanted)}[
        dialect
    ]


@given(
    rules=st.lists(st.tuples(filters, st.booleans()), max_size=8),
    heard=st.lists(filters, max_size=3),
    happened=st.lists(events, min_size=1, max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_routing_gives_what_a_naive_matcher_gives(
    rules: list[tuple[dict[str, Any], bool]], heard: list[dict[str, Any]], happened: list[Event]
) -> None:
    parameters = compile_mapping({"value": "$.data.v"})
    triggers = [
        Trigger(name=f"t{n}", rule=compile_filters([one]), dag="work", parameters=parameters, paused=paused)
        for n, (one, paused) in enumerate(rules)
    ]
    subscriptions = [
        Subscription(name=f"s{n}", rule=compile_filters([one]), sink=WebhookSink(url="http://x"))
        for n, one in enumerate(heard)
    ]
    project = Project(
        root=Path(), dags=DAGS, triggers=triggers, subscriptions=subscriptions, sources=(), version="v"
    )
    routes, routed = Routes(project, max_hops=16), Routed()

    for position, event in enumerate(happened, 1):
        routes.route(LoggedEvent(position, 1_000, event), 2_000, routed)

    found = {(one.position, one.trigger): one.kind for one in routed.dispositions}
    assert len(found) == len(routed.dispositions), "more than one disposition for a trigger and an event"
    assert found == {
        (position, f"t{n}"): _expected(event, paused)
        for position, event in enumerate(happened, 1)
        for n, (written, paused) in enumerate(rules)
        if matches(written, event)
    }
    kinds = list(found.values())
    assert len(routed.runs) == kinds.count(DispositionKind.RUN)
    assert len(routed.dead_letters) == kinds.count(DispositionKind.DEAD_LETTERED)
    assert {(one.position, one.trigger) for one in routed.runs} == {
        key for key, kind in found.items() if kind is DispositionKind.RUN
    }
    assert {(one.position, one.subscription) for one in routed.deliveries} == {
        (position, f"s{n}")
        for position, event in enumerate(happened, 1)
        for n, written in enumerate(heard)
        if matches(written, event)
    }
    assert routed.is_empty == (not found and not routed.deliveries)


def _expected(event: Event, paused: bool) -> DispositionKind:
    if paused:
        return DispositionKind.PAUSED
    if event.extensions.get("hopcount") in (17, "17") or event.data != {"v": 1}:
        return DispositionKind.DEAD_LETTERED
    return DispositionKind.RUN
