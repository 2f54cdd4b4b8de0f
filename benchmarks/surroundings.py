"""W4, W5, W6: events over HTTP, Kafka records to finished runs, memory and start of an idle service."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from pathlib import Path

from benchmarks.bench import FOLDER
from benchmarks.load import post_many
from benchmarks.report import report
from benchmarks.servers import server

__all__ = ["w4", "w5", "w6"]

_DATA = {
    "order": 7,
    "customer": "c-1024",
    "items": [{"sku": f"sku-{n}", "count": n, "price": 9.5} for n in range(8)],
}


def _event(number: int, kind: str = "com.example.unmatched") -> bytes:
    event = {"specversion": "1.0", "id": str(number), "source": "/bench", "type": kind, "data": _DATA}
    return json.dumps(event).encode()


async def w4() -> None:
    """Events accepted over HTTP, against a bare ASGI application on the same server."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    connections, count = 64, 20_000
    rates: dict[str, list[float]] = {"bare": [], "tidemill": []}
    for _ in range(3):
        for kind, found in rates.items():
            with (
                tempfile.TemporaryDirectory(dir=FOLDER) as folder,
                server(kind, Path(folder)) as (port, _, _),
            ):
                await post_many(
                    port, "/events", lambda n: _event(-1 - n), count=2000, connections=connections
                )
                seconds, failed = await post_many(
                    port, "/events", _event, count=count, connections=connections
                )
                assert not failed, f"{failed} requests were not accepted"
                found.append(count / seconds)
    value, floor = sorted(rates["tidemill"])[1], sorted(rates["bare"])[1]
    report(
        "W4",
        value,
        "events/s",
        floor,
        connections=connections,
        bytes=len(_event(1)),
        floor_is="raw ASGI, uvicorn",
    )


async def w5() -> None:
    """Kafka records to finished runs of one task, against fetching the same records and nothing else."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    from tidemill.testing.broker import KafkaBroker, require_jars

    count, partitions = 40_000, 4
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=FOLDER) as name,
        KafkaBroker(require_jars(), Path(name) / "kafka") as broker,
    ):
        brokers = broker.bootstrap_servers
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        await admin.create_topics([NewTopic("bench", partitions, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=5, max_batch_size=1 << 17)
        await producer.start()
        headers = [("content-type", b"application/cloudevents+json")]
        sent = [
            await producer.send(
                "bench", _event(n, "com.example.record"), partition=n % partitions, headers=headers
            )
            for n in range(count)
        ]
        await asyncio.gather(*sent)
        await producer.stop()

        consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id=None)
        await consumer.start()
        places = [TopicPartition("bench", partition) for partition in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        begun, read = time.perf_counter(), 0
        while read < count:
            read += sum(map(len, (await consumer.getmany(timeout_ms=500, max_records=5000)).values()))
        floor = count / (time.perf_counter() - begun)
        await consumer.stop()

        with server("tidemill", Path(name), brokers):
            first, last = await asyncio.to_thread(_wait_for_runs, Path(name) / "serve.db", count)
    report(
        "W5",
        count / (last - first),
        "records/s",
        floor,
        records=count,
        partitions=partitions,
        floor_is="getmany",
    )


def _wait_for_runs(path: Path, count: int) -> tuple[float, float]:
    """(about when the first event was appended, when the last run ended), in seconds."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                (ended,) = database.execute("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL").fetchone()
                if ended == count:
                    row = database.execute(
                        "SELECT (SELECT min(received_at) FROM events), (SELECT max(ended_at) FROM runs)"
                    ).fetchone()
                    return row[0] / 1e6, row[1] / 1e6
        except sqlite3.OperationalError:
            continue
    raise TimeoutError(f"not all of {count} runs have ended")


async def w6() -> None:
    """Memory and start of a service with nothing to do."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=FOLDER) as folder,
        server("tidemill", Path(folder)) as (_, process, ready),
    ):
        await asyncio.sleep(2)
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
        resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    report("W6.memory", resident / 1024, "MiB", None, state="idle")
    report("W6.ready", ready, "s", None, until="the port answers, process start included")
