"""How a reader is doing, judged after each look: silent brokers, topics that are not there, a full backlog."""

from __future__ import annotations

from typing import Any

from aiokafka.structs import TopicPartition

from tidemill.project.model import KafkaSource
from tidemill.sources.kafka.partitions import Partitions
from tidemill.sources.kafka.report import Report

__all__ = ["SILENCE_SECONDS", "Health"]

#: Time without an answer of any broker after which the source is stalled.
SILENCE_SECONDS = 3.0


class Health:
    """Tells the report what the reader sees."""

    def __init__(self, spec: KafkaSource, consumer: Any, *, partitions: Partitions, report: Report) -> None:
        self._spec = spec
        self._consumer = consumer
        self._partitions = partitions
        self._report = report
        self._last_answers: dict[TopicPartition, int | None] = {}
        self._silent_seconds = 0.0

    def note_silence(self, seconds: float) -> None:
        """Nothing was heard for so long."""
        self._silent_seconds += seconds

    def judge(self, *, full: bool, answered: bool, absent: frozenset[TopicPartition]) -> None:
        """Say how we are doing: brokers answer each fetch, also an empty one, within half a second.

        `absent` are pending partitions whose topic does not exist.
        """
        ours = self._consumer.assignment()
        answers = {
            each: self._consumer.last_poll_timestamp(each) for each in self._partitions.ready if each in ours
        }
        if answered or full or answers != self._last_answers or (self._partitions.assigned and not answers):
            self._silent_seconds = 0.0
        self._last_answers = answers
        if self._silent_seconds >= SILENCE_SECONDS:
            self._report.stall("the brokers do not answer")
        elif (
            self._silent_seconds == 0.0
            and self._partitions.assigned
            and self._partitions.pending.issubset(absent)
        ):
            self._tell(full, {partition.topic for partition in absent & self._partitions.pending})

    def _tell(self, full: bool, absent: set[str]) -> None:
        missing = [
            topic
            for topic in self._spec.topics
            if topic in absent or not self._consumer.partitions_for_topic(topic)
        ]
        if full:
            self._report.degrade("the backlog is full; partitions are paused")
        elif missing:
            self._report.degrade(f"no such topic: {', '.join(missing)}")
        elif self._spec.topics_pattern is not None and not self._consumer.subscription():
            self._report.degrade(f"no topic fits {self._spec.topics_pattern}")
        else:
            self._report.live()
