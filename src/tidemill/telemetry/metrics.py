"""Every metric, in one table: what stages count while they work, and what is read off at a scrape.

One `Metrics` per service, made by the composition root and handed to the stages that count; nothing is
registered process-wide, so that two services in one process never mix. Runs are read off the store when
somebody asks, because there the numbers survive a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["CONTENT_TYPE", "METRICS", "Metrics"]

#: Media type of the text that `Metrics.render` gives.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Name to (labels, meaning). Counters end in `_total`.
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "tidemill_events_total": (
        ("source", "kind", "outcome"),
        "Events by source since the start: accepted, duplicate or refused.",
    ),
    "tidemill_source_lag": (("source", "kind"), "Records or files known to wait outside."),
    "tidemill_source_state": (
        ("source", "kind", "state"),
        "1 for the state that a source is in: starting, live, degraded, stalled, paused or stopped.",
    ),
    "tidemill_source_last_event_timestamp_seconds": (
        ("source", "kind"),
        "When a source's last event was appended, in seconds since the epoch; absent before the first.",
    ),
    "tidemill_log_position": ((), "Position of the last committed event."),
    "tidemill_runs": (("dag", "state"), "Runs by DAG and state."),
    "tidemill_task_attempts_total": (
        ("dag", "outcome"),
        "Task attempts that ended since the start: succeeded, failed (also by a timeout) or cancelled.",
    ),
    "tidemill_cache_lookups_total": (
        ("dag", "outcome"),
        "Tasks that were looked up in the cache since the start: hit, or miss (also when the result was too old).",
    ),
    "tidemill_worker_seconds_total": (
        ("executor", "dag"),
        "Seconds that workers, of a cluster or processes here, spent in tasks since the start.",
    ),
    "tidemill_worker_cpu_seconds_total": (
        ("executor", "dag"),
        "Processor seconds that workers, of a cluster or processes here, spent in tasks since the start.",
    ),
    "tidemill_worker_waiting_seconds_total": (
        ("executor", "dag"),
        "Seconds that task attempts on such workers spent outside of the task, such as in a queue, since the start.",
    ),
    "tidemill_deliveries_total": (
        ("subscription", "outcome"),
        "Delivery attempts since the start: delivered, failed or dead_lettered.",
    ),
    "tidemill_owned_shards": ((), "Shards of the keyed state that this node works on, of 256."),
    "tidemill_shard_runs": (
        ("shard", "state"),
        "Runs that have not ended by shard and state, in a fleet; of shards that this node owns and that have any.",
    ),
    "tidemill_refused_records_total": (
        (),
        "Records of runs refused since the start because this node had lost their shard.",
    ),
    "tidemill_pool_slots": (("pool",), "Slots of each pool that has a limit; 0 is paused."),
    "tidemill_pool_used": (("pool",), "Slots that attempts have now."),
    "tidemill_pool_queued": (("pool",), "Tasks that wait in each pool."),
    "tidemill_pool_started_total": (("pool",), "Attempts started since the start."),
    "tidemill_pool_wait_seconds_total": (
        ("pool",),
        "Seconds that tasks have waited in each pool since the start; by tidemill_pool_started_total the mean wait.",
    ),
    "tidemill_resource_total": (("resource",), "What this machine has for tasks."),
    "tidemill_resource_used": (("resource",), "What of it attempts have now."),
    "tidemill_waits": (
        ("kind",),
        "Tasks that wait for a time (sleep, until), an event or an approval, by kind.",
    ),
    "tidemill_queue": (("queue",), "How many wait or run, by queue."),
    "tidemill_stream_clients": ((), "Open event streams."),
}


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        #: Labels `dag`, `outcome`; the engine counts.
        self.task_attempts = self._counter("tidemill_task_attempts_total")
        #: Labels `dag`, `outcome`; the engine counts.
        self.cache_lookups = self._counter("tidemill_cache_lookups_total")
        #: Labels `executor`, `dag`; the executors of clusters count.
        self.worker_seconds = self._counter("tidemill_worker_seconds_total")
        #: As `worker_seconds`.
        self.worker_cpu_seconds = self._counter("tidemill_worker_cpu_seconds_total")
        #: As `worker_seconds`.
        self.worker_waiting_seconds = self._counter("tidemill_worker_waiting_seconds_total")
        #: Labels `subscription`, `outcome`; the dispatcher counts.
        self.deliveries = self._counter("tidemill_deliveries_total")
        #: The API counts.
        self.stream_clients = self._gauge("tidemill_stream_clients")
        self._queues = self._gauge("tidemill_queue")

    def watch_queue(self, queue: str, size: Callable[[], float]) -> None:
        """Show `size()` as the gauge of `queue` at every scrape."""
        self._queues.labels(queue).set_function(size)

    def render(self, families: Iterable[Metric] = ()) -> bytes:
        """Everything as Prometheus text, with `families` read off the store for this scrape."""
        return bytes(generate_latest(_Scrape([*families, *self._registry.collect()])))

    def _counter(self, name: str) -> Counter:
        labels, meaning = METRICS[name]
        return Counter(name, meaning, labels, registry=self._registry)

    def _gauge(self, name: str) -> Gauge:
        labels, meaning = METRICS[name]
        return Gauge(name, meaning, labels, registry=self._registry)


def event_families(statuses: Iterable[Mapping[str, object]]) -> list[Metric]:
    """What the sources have counted, from their statuses."""
    events = _family(CounterMetricFamily, "tidemill_events_total")
    lag = _family(GaugeMetricFamily, "tidemill_source_lag")
    state = _family(GaugeMetricFamily, "tidemill_source_state")
    last = _family(GaugeMetricFamily, "tidemill_source_last_event_timestamp_seconds")
    for status in statuses:
        name, kind = str(status["name"]), str(status["kind"])
        for outcome, field in (("accepted", "accepted"), ("duplicate", "duplicates"), ("refused", "refused")):
            events.add_metric([name, kind, outcome], _number(status[field]))
        if status.get("lag") is not None:
            lag.add_metric([name, kind], _number(status["lag"]))
        state.add_metric([name, kind, str(status["state"])], 1)
        if status.get("last_event_at") is not None:
            last.add_metric([name, kind], _number(status["last_event_at"]) / 1_000_000)
    return [events, lag, state, last]


def store_families(head: int, runs: Mapping[tuple[str, str], int]) -> list[Metric]:
    """What the store knows: the log's head, and runs per (DAG, state)."""
    position = _family(GaugeMetricFamily, "tidemill_log_position")
    position.add_metric([], head)
    by_state = _family(GaugeMetricFamily, "tidemill_runs")
    for (dag, state), count in sorted(runs.items()):
        by_state.add_metric([dag, state], count)
    return [position, by_state]


def wait_families(waits: Mapping[str, int]) -> list[Metric]:
    """What tasks wait for, by kind."""
    by_kind = _family(GaugeMetricFamily, "tidemill_waits")
    for kind, count in sorted(waits.items()):
        by_kind.add_metric([kind], count)
    return [by_kind]


def fleet_families(owned_shards: int, refused_records: int) -> list[Metric]:
    """This node's part in the fleet."""
    owned = _family(GaugeMetricFamily, "tidemill_owned_shards")
    owned.add_metric([], owned_shards)
    refused = _family(CounterMetricFamily, "tidemill_refused_records_total")
    refused.add_metric([], refused_records)
    return [owned, refused]


def shard_families(runs: Mapping[tuple[int, str], int]) -> list[Metric]:
    """The open runs of this node's shards: at most a series for each shard and open state."""
    by_shard = _family(GaugeMetricFamily, "tidemill_shard_runs")
    for (shard, state), count in sorted(runs.items()):
        by_shard.add_metric([str(shard), state], count)
    return [by_shard]


def pool_families(
    pools: Iterable[Mapping[str, object]], resources: Iterable[Mapping[str, object]]
) -> list[Metric]:
    """Pools and resources, from what the API shows of them."""
    fields = {"tidemill_pool_slots": "slots", "tidemill_pool_used": "used", "tidemill_pool_queued": "queued"}
    families = {name: _family(GaugeMetricFamily, name) for name in fields}
    totals = {"tidemill_pool_started_total": "started", "tidemill_pool_wait_seconds_total": "waited_seconds"}
    families |= {name: _family(CounterMetricFamily, name) for name in totals}
    for pool in pools:
        for name, field in {**fields, **totals}.items():
            if pool[field] is not None:
                families[name].add_metric([str(pool["name"])], _number(pool[field]))
    amounts = {"tidemill_resource_total": "total", "tidemill_resource_used": "used"}
    families |= {name: _family(GaugeMetricFamily, name) for name in amounts}
    for resource in resources:
        for name, field in amounts.items():
            families[name].add_metric([str(resource["name"])], _number(resource[field]))
    return list(families.values())


class _Scrape:
    """The collector of one scrape."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str
) -> CounterMetricFamily | GaugeMetricFamily:
    labels, meaning = METRICS[name]
    return kind(name, meaning, labels=labels)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
