"""Derived events and enrichment: what a definition makes of an event, and what is looked up for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events.event import Event
from tidemill.project.derivation import derive, hop_count
from tidemill.project.enricher import Enricher
from tidemill.project.enrichment import Enrichment, EnrichmentCache, EnrichmentFailed
from tidemill.project.lookups import enriched_lookup
from tidemill.project.mapping import MappingFailed, compile_mapping, compile_template
from tidemill.testing.clock import ManualClock

DERIVE = """
derive:
  - name: big-orders
    filters: [{exact: {type: order.placed}}]
    pattern: {data: {cents: [{numeric: [">=", 100000]}]}}
    event:
      type: order.big
      priority: $.data.priority
    data: {order: $.data.id, title: "order {$.data.id}"}
    examples:
      match: [{type: order.placed, data: {id: A-1, cents: 250000, priority: 2}}]
      no_match: [{type: order.placed, data: {id: A-2, cents: 900}}]
"""

LOOKUPS = """
CALLS = []

async def tier(customer, region="eu"):
    CALLS.append(customer)
    if customer == "unknown":
        raise LookupError("no such customer")
    return {"tier": "gold", "customer": customer, "region": region}

def plain(customer):
    return 1
"""


def placed(**members: Any) -> Event:
    data = {"id": "A-1", "cents": 250_000, "priority": 2}
    return Event(
        **{"id": "e-1", "source": "/shop", "type": "order.placed", "subject": "A-1", "data": data, **members}
    )


def derivation_of(folder: Any, text: str = DERIVE) -> Any:
    folder.write("triggers/t.yaml", text)
    (found,) = folder.load().derivations
    return found


# ── derived events ────────────────────────────────────────────────────────────────────────────────────────


def test_derived_event_is_made_of_its_cause_and_names_it(folder: Any) -> None:
    made = derive(derivation_of(folder), placed(extensions={"traceparent": "00-a-b-01"}))

    assert (made.type, made.source, made.subject) == ("order.big", "/tidemill/derived/big-orders", "A-1")
    assert made.data == {"order": "A-1", "title": "order A-1"}
    assert made.extensions == {
        "priority": 2,
        "causationid": "e-1",
        "correlationid": "e-1",
        "hopcount": 1,
        "traceparent": "00-a-b-01",
    }


def test_derived_event_carries_its_chain_on(folder: Any) -> None:
    made = derive(derivation_of(folder), placed(extensions={"correlationid": "c", "hopcount": "3"}))

    assert (made.extensions["correlationid"], made.extensions["hopcount"]) == ("c", 4)
    assert hop_count(made) == 4


def test_derived_event_is_the_same_for_the_same_cause_alone(folder: Any) -> None:
    derivation = derivation_of(folder)
    other = derivation_of(folder, DERIVE.replace("big-orders", "others"))
    ids = [
        derive(each, event).id
        for each, event in [
            (derivation, placed()),
            (derivation, placed()),
            (derivation, placed(id="e-2")),
            (derivation, placed(source="/market")),
            (other, placed()),
        ]
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_derived_event_without_data_of_its_own_has_that_of_its_cause(folder: Any) -> None:
    derivation = derivation_of(
        folder,
        "derive: [{name: d, filters: [], event: {type: copied, id: 'copy-{$.id}', subject: null-free}}]",
    )
    cause = placed(dataschema="urn:s", time="2024-01-01T00:00:00Z")
    binary = placed(data=b"\x00\x01", datacontenttype="application/octet-stream")

    made = derive(derivation, cause)

    assert (made.id, made.subject, made.data, made.dataschema) == (
        "copy-e-1",
        "null-free",
        cause.data,
        "urn:s",
    )
    assert made.time == "2024-01-01T00:00:00Z"
    assert derive(derivation, binary).data == b"\x00\x01"
    assert derive(derivation, binary).datacontenttype == "application/octet-stream"


def test_derivation_that_finds_no_value_or_makes_no_event_is_refused(folder: Any) -> None:
    with pytest.raises(EventRejected) as missing:
        derive(derivation_of(folder), placed(data={"cents": 250_000}))
    text = "derive: [{name: d, filters: [], event: {type: $.data.type}}]"
    with pytest.raises(EventRejected) as reserved:
        derive(derivation_of(folder, text), placed(data={"type": "dev.tidemill.run.succeeded.v1"}))

    assert (missing.value.code, missing.value.attribute) == ("mapping_failed", "priority")
    assert reserved.value.code == "reserved_type"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("event: {source: /x}", "5: 'type' is missing: every event has a type"),
        ("event: {type: a, id: one}", "5: 'id' must come from the event: a constant makes all events one"),
        ("event: {type: a, hopcount: 0}", "5: 'hopcount' says where the event comes from; it is set here"),
        ("event: {type: a, Big: 0}", "5: 'Big' is no attribute name: lower-case letters and digits only"),
        (
            "event: {type: dev.tidemill.x}",
            "5: types that begin with dev.tidemill. are Tidemill's own; choose another",
        ),
        ("event: {type: a, subject: $.body.x}", "5: $.body.x: an event has attributes such as"),
        (
            "event: {type: a}\n    data: $.enriched.t.x",
            "6: $.enriched.t.x: there is no enrichment 't' beside it",
        ),
        (
            "event: {type: a}\n    examples: {match: [{type: a}]}",
            "6: this example cannot start the DAG: the event made of it matches again, and so without end",
        ),
        ("event: {type: a}\n    dag: x", "6: unknown field 'dag'"),
    ],
)
def test_derivation_that_cannot_be_meant_is_a_problem_at_its_line(
    problems_of: Callable[[str], list[str]], text: str, problem: str
) -> None:
    head = "derive:\n  - name: d\n    filters:\n      - exact: {type: a}\n    "

    (found,) = problems_of(head + text + "\n")

    assert found.startswith(problem)


def test_derivation_casts_old_events_before_it_maps_them(folder: Any) -> None:
    folder.write(
        "schemas/v1.json",
        '{"$id": "urn:v1", "x-tidemill": {"upcast": {"to": "urn:v2", "data": {"n": "$.data.old"}}}}',
    )
    folder.write("schemas/v2.json", '{"$id": "urn:v2"}')
    derivation = derivation_of(folder, "derive: [{name: d, filters: [], event: {type: x}}]")

    made = derive(derivation, placed(data={"old": 5}, dataschema="urn:v1"))

    assert (made.data, made.dataschema) == ({"n": 5}, "urn:v2")


# ── enrichment ────────────────────────────────────────────────────────────────────────────────────────────

ENRICHED = """
triggers:
  - name: t
    dag: process_order
    filters: [{exact: {type: order.placed}}]
    enrich:
      who: {function: "_lookups:tier", arguments: {customer: $.data.customer}, ttl: 1m}
    parameters: {order: $.enriched.who, priority: {path: $.data.priority, default: 1}}
    examples: {match: [{type: order.placed}]}
"""


def trigger_of(folder: Any, text: str = ENRICHED) -> Any:
    folder.write("workflows/_lookups.py", LOOKUPS)
    folder.write("triggers/t.yaml", text)
    (trigger,) = folder.load().triggers
    return trigger


async def test_enrichment_looks_up_once_and_again_when_its_time_is_over(folder: Any) -> None:
    trigger = trigger_of(folder)
    clock = ManualClock()
    enricher = Enricher(clock=clock)
    calls = trigger.enrichments[0].function.__globals__["CALLS"]
    event = placed(data={"customer": "ada"})

    found = await enricher.values(trigger.enrichments, event)
    await enricher.values(trigger.enrichments, event)
    once = len(calls)
    await clock.run_for(60)
    await enricher.values(trigger.enrichments, event)

    assert trigger.parameters.evaluate(enriched_lookup(event, found)) == {
        "order": {"tier": "gold", "customer": "ada", "region": "eu"},
        "priority": 1,
    }
    assert (once, len(calls)) == (1, 2)


async def test_enrichment_asks_the_same_question_once_for_all_who_ask_at_once(folder: Any) -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def slow(customer: str) -> str:
        asked.append(customer)
        await answer.wait()
        return customer.upper()

    one = enrichment(slow)
    enricher = Enricher(clock=ManualClock())
    tasks = [
        asyncio.create_task(enricher.values([one], placed(data={"customer": name})))
        for name in ("ada", "ada", "bob")
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    answer.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [{"who": "ADA"}, {"who": "BOB"}]
    assert sorted(asked) == ["ada", "bob"]


def enrichment(function: Any, **members: Any) -> Enrichment:
    return Enrichment(
        name="who",
        reference=f"m:{function.__name__}",
        function=function,
        arguments=compile_mapping({"customer": "$.data.customer"}),
        **members,
    )


async def _fails(customer: str) -> None:
    raise LookupError("no such customer")


async def _hangs(customer: str) -> None:
    await asyncio.Event().wait()


async def _gives_no_json(customer: str) -> object:
    return object()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_fails, "LookupError: no such customer"),
        (_hangs, "no answer within 0.01 s"),
        (_gives_no_json, "the answer is not JSON"),
    ],
)
async def test_enrichment_that_fails_gives_its_default_or_says_why(function: Any, reason: str) -> None:
    event = placed(data={"customer": "ada"})
    enricher = Enricher(clock=ManualClock())
    timeout = timedelta(milliseconds=10)

    with pytest.raises(EnrichmentFailed) as caught:
        await enricher.values([enrichment(function, timeout=timeout)], event)
    kept = enrichment(function, timeout=timeout, default=compile_template({"of": "$.data.customer"}))

    assert reason in str(caught.value)
    assert await enricher.values([kept], event) == {"who": {"of": "ada"}}


async def test_enrichment_needs_its_arguments() -> None:
    with pytest.raises(MappingFailed):
        await Enricher(clock=ManualClock()).values([enrichment(_fails)], placed(data={}))


def test_cache_keeps_no_more_than_it_may_and_forgets_the_longest_unasked() -> None:
    cache = EnrichmentCache(2)
    keys = [("f", b"%d" % n) for n in range(3)]
    cache.put(keys[0], "a", until_us=10)
    cache.put(keys[1], None, until_us=10)
    cache.get(keys[0], now_us=0)
    cache.put(keys[2], "c", until_us=10)

    assert len(cache) == 2
    assert [cache.get(key, now_us=9) for key in keys] == [(True, "a"), (False, None), (True, "c")]
    assert cache.get(keys[0], now_us=10) == (False, None)
    assert len(cache) == 1


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (
            '{function: "_lookups"}',
            "'_lookups' is no function; write MODULE:FUNCTION, of the workflows folder",
        ),
        ('{function: "_none:tier"}', "there is no module '_none' in workflows/"),
        ('{function: "_lookups:none"}', "'_lookups' has no function 'none'"),
        ('{function: "_lookups:plain"}', "'_lookups:plain' is not declared with async def"),
        ('{function: "os:getcwd"}', "module 'os' is not in workflows/"),
        (
            '{function: "_lookups:tier"}',
            "'_lookups:tier' cannot be called so: missing a required argument: 'customer'",
        ),
        (
            '{function: "_lookups:tier", arguments: {customer: 1, x: 2}}',
            "got an unexpected keyword argument 'x'",
        ),
        (
            '{function: "_lookups:tier", arguments: {customer: $.dat.x}}',
            "$.dat.x: an event has attributes such as",
        ),
        ('{function: "_broken:f"}', "importing '_broken' raised"),
    ],
)
def test_enrichment_that_cannot_be_called_is_a_problem(folder: Any, written: str, problem: str) -> None:
    folder.write("workflows/_lookups.py", LOOKUPS)
    folder.write("workflows/_broken.py", "raise RuntimeError('no')\n")
    folder.write(
        "triggers/t.yaml",
        ENRICHED.replace(
            '{function: "_lookups:tier", arguments: {customer: $.data.customer}, ttl: 1m}', written
        ),
    )

    (found,) = folder.problems()

    assert problem in found
