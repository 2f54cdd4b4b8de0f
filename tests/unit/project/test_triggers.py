"""Definition files that are right: what they become."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.project.mapping import event_lookup, request_lookup
from tidemill.project.model import FileSource, KafkaSink, KafkaSource, Secret, WebhookSink, WebhookSource

SOURCES = """
sources:
  - name: shop
    webhook:
      event:
        type: com.example.order.placed
        source: /shop
        id: $.headers["x-delivery-id"]
        subject: $.body.customer
      data: $.body.order
      secret: {env: SHOP_SECRET}
  - name: plain
    webhook:
      event: {type: 'com.example.{$.body.kind}'}
      secrets: [{env: NEW}, {file: secrets/old}]
  - name: inbox
    files: {path: inbox, include: ["*.csv"], exclude: [x*], complete: quiet, quiet: 1.5, type: com.example.f}
  - name: outside
    files: {path: /var/spool/in/../drop, complete: marker, marker: .ok, source: /spool}
  - name: payments
    kafka: {topics: [payments, refunds], group: g, start: latest, type: com.example.payment}
  - name: events
    kafka: {topics: [events]}
"""


def order(amount: Any) -> Event:
    return Event(id="1", source="/shop", type="com.example.order.placed", data={"amount": amount})


def test_sources_become_what_they_say(folder: Any) -> None:
    folder.write("triggers/sources.yaml", SOURCES)

    shop, plain, inbox, outside, payments, events = folder.load().sources

    assert isinstance(shop, WebhookSource)
    assert (shop.secrets, shop.file, shop.line) == (
        (Secret("env", "SHOP_SECRET"),),
        "triggers/sources.yaml",
        3,
    )
    assert isinstance(plain, WebhookSource)
    assert plain.secrets == (Secret("env", "NEW"), Secret("file", "secrets/old"))
    assert plain.data is None
    assert isinstance(inbox, FileSource)
    assert (inbox.path, inbox.include, inbox.exclude) == (folder.root / "inbox", ("*.csv",), ("x*",))
    assert (inbox.complete, inbox.quiet, inbox.event_type) == (
        "quiet",
        timedelta(seconds=1.5),
        "com.example.f",
    )
    assert inbox.event_source == "/tidemill/files/inbox"
    assert isinstance(outside, FileSource)
    assert (str(outside.path), outside.marker, outside.event_source) == ("/var/spool/drop", ".ok", "/spool")
    assert outside.event_type == "dev.tidemill.file.landed.v1"
    assert isinstance(payments, KafkaSource)
    assert (payments.topics, payments.group, payments.start) == (("payments", "refunds"), "g", "latest")
    assert payments.event_type == "com.example.payment"
    assert isinstance(events, KafkaSource)
    assert (events.group, events.start, events.event_type) == ("tidemill", "earliest", None)


def test_webhook_source_makes_attributes_and_data_from_a_request(folder: Any) -> None:
    folder.write("triggers/sources.yaml", SOURCES)
    shop, plain, *_ = folder.load().sources
    request = request_lookup(
        {"customer": "c-7", "order": {"amount": 3}, "kind": "x"}, {"X-Delivery-Id": "d-1"}, {}
    )

    made = {name: template.evaluate(request) for name, template in shop.attributes.items()}

    assert made == {"type": "com.example.order.placed", "source": "/shop", "id": "d-1", "subject": "c-7"}
    assert shop.data.evaluate(request) == {"amount": 3}
    assert plain.attributes["type"].evaluate(request) == "com.example.x"
    assert plain.attributes["source"].evaluate(request) == "/webhooks/plain"


def test_trigger_with_filters_and_pattern_asks_for_both(folder: Any) -> None:
    folder.write(
        "triggers/orders.yml",
        """
        triggers:
          - name: order-placed
            filters: [{exact: {type: com.example.order.placed}}]
            pattern: {data: {amount: [{numeric: [">", 0]}]}}
            dag: process_order
            parameters: {order: $.data, priority: 3}
            paused: true
            examples:
              match: [{type: com.example.order.placed, data: {amount: 1}}]
              no_match: [{type: com.example.order.placed, data: {amount: 0}}, {type: x, data: {amount: 1}}]
        """,
    )

    (trigger,) = folder.load().triggers

    assert trigger.rule.matches(order(1))
    assert not trigger.rule.matches(order(0))
    assert (trigger.name, trigger.dag, trigger.paused, trigger.line) == (
        "order-placed",
        "process_order",
        True,
        3,
    )
    assert trigger.parameters.evaluate(event_lookup(order(1))) == {"order": {"amount": 1}, "priority": 3}


def test_trigger_asks_for_all_that_it_says_in_any_dialect(folder: Any) -> None:
    folder.write(
        "triggers/orders.yml",
        """
        triggers:
          - name: order-placed
            cesql: type LIKE 'com.example.%' AND NOT EXISTS test
            cel: data.amount > 0
            dag: process_order
            parameters: {order: $.data}
            examples:
              match: [{type: com.example.order.placed, data: {amount: 1}}]
              no_match:
                - {type: com.example.order.placed, data: {amount: 0}}
                - {type: com.example.order.placed, test: x, data: {amount: 1}}
        """,
    )

    (trigger,) = folder.load().triggers

    assert trigger.rule.matches(order(1))
    assert not trigger.rule.matches(order(0))


def test_trigger_needs_no_parameters_where_its_dag_needs_none(folder: Any) -> None:
    folder.write(
        "triggers/t.yaml",
        """
        triggers:
          - {name: a, pattern: {type: [x]}, dag: archive}
          - {name: b, filters: [], dag: report, parameters: {}}
        """,
    )

    a, b = folder.load().triggers

    assert (a.parameters, a.paused) == (None, False)
    assert b.parameters.evaluate(event_lookup(order(1))) == {}


def test_trigger_examples_may_be_completion_events(folder: Any) -> None:
    folder.write(
        "triggers/t.yaml",
        """
        triggers:
          - name: chain
            pattern: {type: [dev.tidemill.run.succeeded.v1], source: [/tidemill/dags/process_order]}
            dag: report
            parameters: {state: $.data.state}
            examples:
              match:
                - type: dev.tidemill.run.succeeded.v1
                  source: /tidemill/dags/process_order
                  data: {state: succeeded}
        """,
    )

    project = folder.load()

    assert [trigger.name for trigger in project.triggers] == ["chain"]
    assert project.warnings == ()


def test_subscriptions_become_what_they_say(folder: Any) -> None:
    folder.write(
        "triggers/s.yaml",
        """
        subscriptions:
          - name: audit
            filters: [{prefix: {type: dev.tidemill.run.}}]
            webhook:
              url: https://example.com:8443/hook?x=1
              secret: {env: AUDIT}
              mode: binary
              headers: {x-team: data}
              timeout: 15s
            ordered: true
            max_attempts: 3
          - name: stream
            pattern: {type: [{prefix: dev.tidemill.}]}
            kafka: {topic: completions}
        """,
    )

    audit, stream = folder.load().subscriptions

    assert audit.sink == WebhookSink(
        url="https://example.com:8443/hook?x=1",
        secret=Secret("env", "AUDIT"),
        mode="binary",
        headers={"x-team": "data"},
        timeout=timedelta(seconds=15),
    )
    assert (audit.ordered, audit.max_attempts) == (True, 3)
    assert stream.sink == KafkaSink(topic="completions")
    assert (stream.ordered, stream.max_attempts) == (False, 10)
    assert stream.rule.matches(Event(id="1", source="/s", type="dev.tidemill.run.failed.v1"))


def test_files_in_folders_are_read_and_hidden_and_other_files_are_not(folder: Any) -> None:
    entry = "triggers: [{name: NAME, filters: [], dag: archive}]"
    folder.write("triggers/b/deep.yml", entry.replace("NAME", "deep"))
    folder.write("triggers/a.yaml", entry.replace("NAME", "top"))
    folder.write("triggers/.hidden.yaml", "not: [valid")
    folder.write("triggers/README.md", "not: [valid")
    folder.write("triggers/empty.yaml", "# nothing yet\n")
    folder.write("triggers/bare.yaml", "triggers:\nsources: []\n")

    assert [trigger.name for trigger in folder.load().triggers] == ["top", "deep"]


@pytest.mark.parametrize("written", ["500ms", "0.5s", "0.5"])
def test_durations_are_text_with_unit_or_seconds(folder: Any, written: str) -> None:
    folder.write("triggers/t.yaml", f"sources: [{{name: f, files: {{path: in, quiet: {written}}}}}]")

    (source,) = folder.load().sources

    assert source.quiet == timedelta(milliseconds=500)
