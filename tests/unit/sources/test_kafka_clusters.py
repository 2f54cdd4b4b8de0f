"""Clusters in the settings, and what a source says of the one it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import DefinitionError, SettingsError
from tidemill.project.kafka_source import topics_regex
from tidemill.project.load import load as load_project
from tidemill.project.model import KafkaSource
from tidemill.service.build_kafka import source_connection
from tidemill.settings import Settings, load

SECURE = {
    "security_protocol": "SASL_SSL",
    "username": "mill",
    "password": {"env": "P"},
    "bootstrap_servers": "b:1",
}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, "kafka_clusters.west: bootstrap_servers is missing"),
        ({**SECURE, "password": None}, "SASL_SSL needs username and password"),
        ({"bootstrap_servers": "b:1", "username": "x"}, "username and password need security_protocol"),
        ({**SECURE, "password": "clear"}, "password"),
        ({**SECURE, "password": {"env": "P", "file": "p"}}, "exactly one of env and file"),
        ({"bootstrap_servers": "b:1", "ssl_cafile": "ca.pem"}, "ssl_ files need security_protocol"),
        ({**SECURE, "ssl_keyfile": "k.pem"}, "ssl_keyfile needs ssl_certfile"),
        ({**SECURE, "sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
        ({**SECURE, "acks": "0"}, "acks"),
    ],
)
def test_wrong_cluster_is_refused_and_told(table: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, kafka_clusters={"west": table})

    assert told in str(caught.value)
    assert "clear" not in str(caught.value)


def test_default_cluster_is_where_its_brokers_are_written_last(tmp_path: Path) -> None:
    (tmp_path / "tidemill.toml").write_text('[kafka_clusters.default]\nbootstrap_servers = "table:1"\n')

    of_the_table = load(tmp_path)
    overridden = load(tmp_path, kafka_bootstrap_servers="named:1")

    assert of_the_table.kafka_bootstrap_servers == "table:1"
    default = overridden.kafka_cluster("default")
    assert default is not None
    assert default.bootstrap_servers == "named:1"
    assert Settings().kafka_cluster("default") is None


def test_source_with_brokers_of_its_own_asks_no_settings(tmp_path: Path) -> None:
    spec = KafkaSource(name="s", topics=("t",), group="g", bootstrap_servers="own:1")

    assert source_connection(spec, Settings(), tmp_path) == {"bootstrap_servers": "own:1"}
    off = source_connection(KafkaSource(name="s", topics=("t",), group="g"), Settings(), tmp_path)
    assert off == "no broker is configured (kafka_bootstrap_servers)"


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("orders-*", ["orders-", "orders-eu"], ["orders", "x-orders-eu", "orders.eu"]),
        ("o?d", ["old", "o.d"], ["od", "oold", "old2"]),
        ("*", ["a", "a.b"], []),
    ],
)
def test_pattern_fits_whole_names_and_nothing_else(
    pattern: str, fits: list[str], does_not: list[str]
) -> None:
    regex = topics_regex(KafkaSource(name="s", topics=("a.b",), group="g", topics_pattern=pattern))

    assert all(regex.match(name) for name in [*fits, "a.b"])
    assert not any(regex.match(name) for name in [*does_not, *(["aXb", "a.b2"] if pattern != "*" else [])])


def write(root: Path, kafka: str) -> Path:
    (root / "triggers").mkdir()
    (root / "workflows").mkdir()
    (root / "triggers" / "s.yaml").write_text(f"sources:\n  - name: orders\n    kafka: {kafka}\n")
    return root


def test_source_says_its_cluster_its_pattern_and_its_ordering(tmp_path: Path) -> None:
    root = write(tmp_path, "{topics_pattern: 'orders-*', cluster: west, ordering: key}")

    (spec,) = load_project(root).sources

    assert isinstance(spec, KafkaSource)
    assert (spec.topics, spec.topics_pattern, spec.cluster, spec.ordering) == ((), "orders-*", "west", "key")


@pytest.mark.parametrize(
    ("kafka", "told"),
    [
        ("{group: g}", "'topics' is missing"),
        ("{topics: [a], cluster: west, bootstrap_servers: 'b:1'}", "exclude each other"),
        ("{topics_pattern: 'a|b'}", "topics_pattern"),
        ("{topics: [a], ordering: total}", "ordering"),
    ],
)
def test_wrong_source_is_refused_and_told(kafka: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_project(write(tmp_path, kafka))

    assert told in str(caught.value)
