"""How the Kafka clusters of the settings are reached: the one place where options of Kafka clients are made.

Secrets and certificates are read here, once, when a client is built. Imports no client of Kafka.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.clock import Clock
from tidemill.errors import SettingsError
from tidemill.project.kafka_source import DEFAULT_CLUSTER
from tidemill.project.model import KafkaSource, Secret
from tidemill.settings import KafkaCluster, SecretPlace, Settings
from tidemill.sinks.secrets import read_secret
from tidemill.sources.contract import Source, SourceState, SourceStatus
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["Connection", "client_security", "kafka_source", "sink_security", "source_connection"]

#: `bootstrap_servers` and whatever else makes a client of the cluster.
Connection = Mapping[str, Any]


def client_security(cluster: KafkaCluster, root: Path) -> dict[str, Any]:
    """Options of aiokafka's clients beside the brokers' addresses; empty for clear text.

    Raises `SettingsError` for a secret or a certificate that cannot be read.
    """
    options: dict[str, Any] = {}
    if cluster.security_protocol != "PLAINTEXT":
        options["security_protocol"] = cluster.security_protocol
    if cluster.security_protocol.startswith("SASL_"):
        options["sasl_mechanism"] = cluster.sasl_mechanism
        options["sasl_plain_username"] = _text(cluster.username, root)
        options["sasl_plain_password"] = _text(cluster.password, root)
    if cluster.security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(cluster, root)
    return options


def source_connection(spec: KafkaSource, settings: Settings, root: Path) -> Connection | str:
    """How the source's cluster is reached, or why it is not; raises as `client_security` does."""
    if spec.bootstrap_servers is not None:
        return {"bootstrap_servers": spec.bootstrap_servers}
    cluster = settings.kafka_cluster(spec.cluster)
    if cluster is not None:
        return {"bootstrap_servers": cluster.bootstrap_servers, **client_security(cluster, root)}
    if spec.cluster == DEFAULT_CLUSTER:
        return "no broker is configured (kafka_bootstrap_servers)"
    return f"no cluster {spec.cluster} is configured (kafka_clusters)"


def sink_security(settings: Settings, root: Path) -> dict[str, Any]:
    """What the producer of the sinks needs beside `kafka_bootstrap_servers`; raises as `client_security` does."""
    cluster = settings.kafka_cluster(DEFAULT_CLUSTER)
    return {} if cluster is None else client_security(cluster, root)


def kafka_source(
    spec: KafkaSource, log: EventLog, ledger: Ledger, *, clock: Clock, settings: Settings, root: Path
) -> Source | SourceStatus:
    """The source, or what to show of one whose cluster is not configured; raises as `client_security` does."""
    connection = source_connection(spec, settings, root)
    if isinstance(connection, str):
        return SourceStatus(spec.name, "kafka", SourceState.STOPPED, error=connection)
    from tidemill.sources.kafka.stage import KafkaSourceStage  # the client costs a third of a second

    return KafkaSourceStage(
        spec, log, ledger, clock=clock, max_body_bytes=settings.max_body_bytes, **_stage_options(connection)
    )


def _stage_options(connection: Connection) -> dict[str, Any]:
    security = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
    return {"bootstrap_servers": connection["bootstrap_servers"], "security": security}


def _tls(cluster: KafkaCluster, root: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=_path(cluster.ssl_cafile, root))
        context.check_hostname = cluster.ssl_check_hostname
        if cluster.ssl_certfile is not None:
            password = None
            if cluster.ssl_key_password is not None:
                password = _text(cluster.ssl_key_password, root)
            context.load_cert_chain(
                root / cluster.ssl_certfile,
                _path(cluster.ssl_keyfile, root),
                # Without one nobody is asked at a terminal.
                password=password or "",
            )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = [cluster.ssl_cafile, cluster.ssl_certfile, cluster.ssl_keyfile]
        files = ", ".join(name for name in names if name)
        reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
        raise SettingsError(f"certificates of a Kafka cluster cannot be used ({files}): {reason}") from error
    return context


def _path(name: str | None, root: Path) -> Path | None:
    return None if name is None else root / name


def _text(written: str | SecretPlace | None, root: Path) -> str:
    match written:
        case SecretPlace(env=str(name)):
            return read_secret(Secret(kind="env", place=name), root)
        case SecretPlace(file=str(name)):
            return read_secret(Secret(kind="file", place=name), root)
        case str():
            return written
        case _:
            return ""
