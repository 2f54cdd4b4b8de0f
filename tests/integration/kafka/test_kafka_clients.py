"""What other people's clients produce: kcat (librdkafka) and the console producer of Apache Kafka (Java)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from tidemill.testing.broker import require_jars

pytestmark = pytest.mark.kafka


async def pipe(command: Sequence[str], text: str) -> None:
    """Run a client on `text` and let it end well."""
    client = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await client.communicate(text.encode())
    assert client.returncode == 0, said.decode()


async def test_records_of_kcat_with_cloudevents_headers_are_events(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    if shutil.which("kcat") is None:
        pytest.skip("no kcat on the PATH (Debian: apt-get install kcat)")
    topic = await cluster.create_topic(1)
    headers = ("ce_specversion=1.0", "ce_id=a", "ce_source=/kcat", "ce_type=com.example.sent")
    command = ["kcat", "-P", "-b", cluster.bootstrap_servers, "-t", topic, "-K:", "-z", "zstd"]
    for header in (*headers, "content-type=application/json"):
        command += ["-H", header]

    await pipe(command, 'ann:{"n": 1}\n')
    async with run(make_source(topic)):
        await log.wait_for_count(1)

    (event,) = await log.events()
    assert (event.id, event.source, event.type) == ("a", "/kcat", "com.example.sent")
    assert event.data == {"n": 1}
    assert event.extensions == {"partitionkey": "ann"}


async def test_records_of_the_java_console_producer_are_events(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    jars = require_jars()
    if not any(jars.glob("kafka-tools-[0-9]*.jar")):
        told = "no jar of the console producer; run scripts/kafka-jars"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    topic = await cluster.create_topic(2)
    command = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    command += ["org.apache.kafka.tools.ConsoleProducer"]
    command += ["--bootstrap-server", cluster.bootstrap_servers, "--topic", topic]
    for setting in ("parse.key=true", "parse.headers=true", "key.separator=;", "headers.delimiter=;"):
        command += ["--reader-property", setting]
    binary = (
        "ce_specversion:1.0,ce_id:{0},ce_source:/java,ce_type:com.example.sent,content-type:application/json"
    )
    lines = [f'{binary.format(n)};k{n % 5};{{"n": {n}}}' for n in range(100)]
    structured = '{"specversion":"1.0","id":"s","source":"/java","type":"com.example.sent","data":"x"}'
    lines.append(f"content-type:application/cloudevents+json;k;{structured}")
    lines.append('trace:1;k;{"plain": true}')

    await pipe(command, "\n".join(lines) + "\n")
    async with run(make_source(topic, event_type="com.example.plain")) as stage:
        await log.wait_for_count(102)

    events = await log.events()
    assert {event.id for event in events if event.source == "/java"} == {*map(str, range(100)), "s"}
    assert [event.data for event in events if event.type == "com.example.plain"] == [{"plain": True}]
    assert stage.status().refused == 0
    by_key = [event.data["n"] for event in events if event.extensions.get("partitionkey") == "k3"]
    assert by_key == list(range(3, 100, 5))
