"""Sources that read Kafka topics, built from their entries, and which topics such a source means. Pure: no client.

Patterns of topics are globs, not expressions: matching is linear in the name whatever is written.
"""

from __future__ import annotations

import fnmatch
import re

from tidemill.project.entry import Entry
from tidemill.project.model import KafkaSource
from tidemill.project.trigger_file import KafkaForm

__all__ = ["DEFAULT_CLUSTER", "build_kafka", "check_kafka", "topics_regex"]

#: The cluster that is meant where none is named.
DEFAULT_CLUSTER = "default"


def check_kafka(entry: Entry) -> None:
    """Note what the form cannot say."""
    written = entry.get("kafka")
    if not isinstance(written, dict):
        return
    if written.get("topics") is None and written.get("topics_pattern") is None:
        entry.problem("/kafka", "'topics' is missing")
    if written.get("cluster") is not None and written.get("bootstrap_servers") is not None:
        entry.problem(
            "/kafka/bootstrap_servers", "cluster and bootstrap_servers exclude each other; write one of them"
        )


def build_kafka(entry: Entry, form: KafkaForm) -> KafkaSource:
    """The source of an entry that is right."""
    return KafkaSource(
        name=entry.name,
        topics=tuple(form.topics or ()),
        topics_pattern=form.topics_pattern,
        cluster=form.cluster or DEFAULT_CLUSTER,
        bootstrap_servers=form.bootstrap_servers,
        ordering=form.ordering,
        group=form.group,
        start=form.start,
        event_type=form.type,
        file=entry.file,
        line=entry.line,
    )


def topics_regex(spec: KafkaSource) -> re.Pattern[str]:
    """Matches the names of the topics that the source reads; linear in the name (`fnmatch` never goes back)."""
    names = [re.escape(topic) + r"\Z" for topic in spec.topics]
    globs = [] if spec.topics_pattern is None else [fnmatch.translate(spec.topics_pattern)]
    return re.compile("|".join([*globs, *names]))
