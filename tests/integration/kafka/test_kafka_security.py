"""Clusters that are reached by TLS and SASL, as the settings name them: sources, and the producer of the sinks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tidemill.clock import SystemClock
from tidemill.errors import SettingsError
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import KafkaSink, KafkaSource
from tidemill.service.build_kafka import kafka_source, sink_security, source_connection
from tidemill.settings import load
from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.kafka.reconcile import reconcile
from tidemill.storage.contract import Store
from tidemill.testing.broker import KafkaBroker, SecureListeners, require_jars

pytestmark = pytest.mark.kafka


def make_certificates(folder: Path) -> None:
    """An authority, a broker's certificate for 127.0.0.1 and a client's, all PEM."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    folder.mkdir()
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
    openssl("req", "-x509", *new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject in (("broker", "/CN=broker"), ("client", "/CN=client")):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
        openssl(
            "req", "-x509", *new, *signed, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.crt"
        )
    joined = (folder / "broker.key").read_text() + (folder / "broker.crt").read_text()
    (folder / "broker.pem").write_text(joined)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH")
    folder = tmp_path_factory.mktemp("tls") / "certs"
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def secured(
    kafka_broker: KafkaBroker, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaBroker]:
    """A broker with secure listeners (the session's fixture decides whether there can be one)."""
    secure = SecureListeners(certificates / "broker.pem", certificates / "ca.pem", "mill", "s3cret")
    with KafkaBroker(require_jars(), tmp_path_factory.mktemp("secured"), secure=secure) as broker:
        yield broker


@pytest.fixture
def root(secured: KafkaBroker, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder whose settings name the broker's listeners as clusters."""
    monkeypatch.setenv("MILL_PASSWORD", "s3cret")
    monkeypatch.setenv("WRONG_PASSWORD", "guess")
    (tmp_path / "password").write_text("s3cret\n")
    shutil.copytree(certificates, tmp_path / "certs")
    sasl = 'security_protocol = "SASL_SSL"\nusername = "mill"\nssl_cafile = "certs/ca.pem"\n'
    (tmp_path / "tidemill.toml").write_text(
        f"""
[kafka_clusters.default]
bootstrap_servers = "{secured.sasl_servers}"
{sasl}sasl_mechanism = "SCRAM-SHA-512"
password = {{env = "MILL_PASSWORD"}}

[kafka_clusters.plain]
bootstrap_servers = "{secured.sasl_servers}"
{sasl}password = {{file = "password"}}

[kafka_clusters.wrong]
bootstrap_servers = "{secured.sasl_servers}"
{sasl}password = {{env = "WRONG_PASSWORD"}}

[kafka_clusters.unset]
bootstrap_servers = "{secured.sasl_servers}"
{sasl}password = {{env = "MILL_UNSET"}}

[kafka_clusters.mutual]
bootstrap_servers = "{secured.tls_servers}"
security_protocol = "SSL"
ssl_cafile = "certs/ca.pem"
ssl_certfile = "certs/client.crt"
ssl_keyfile = "certs/client.key"

[kafka_clusters.stranger]
bootstrap_servers = "{secured.tls_servers}"
security_protocol = "SSL"
ssl_certfile = "certs/client.crt"
ssl_keyfile = "certs/client.key"
"""
    )
    return tmp_path


async def make_topic(broker: KafkaBroker, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


def build(root: Path, store: Store, cluster: str, topic: str = "t") -> Any:
    spec = KafkaSource(name="orders", topics=(topic,), group=topic, cluster=cluster)
    return kafka_source(spec, store.log, store.ledger, clock=SystemClock(), settings=load(root), root=root)


@pytest.mark.parametrize("cluster", ["default", "plain", "mutual"])
async def test_source_reads_what_the_sink_of_the_default_cluster_wrote(
    cluster: str, secured: KafkaBroker, root: Path, store: Store, run: Any, log: Any
) -> None:
    topic = f"secured-{cluster}"
    await make_topic(secured, topic)
    settings = load(root)
    assert settings.kafka_bootstrap_servers == secured.sasl_servers
    producer = KafkaProducer(settings.kafka_bootstrap_servers, security=sink_security(settings, root))
    sink = KafkaSinkDelivery(KafkaSink(topic=topic), producer)

    await sink.deliver(LoggedEvent(1, 0, Event(id="1", source="/s", type="t")), 1)
    await producer.close()
    async with run(build(root, store, cluster, topic)):
        await log.wait_for_count(1)
    spec = KafkaSource(name="orders", topics=(topic,), group=topic, cluster=cluster)
    connection = source_connection(spec, settings, root)
    assert not isinstance(connection, str)
    found = await reconcile(spec, store.ledger, connection=connection)

    assert [event.id for event in await log.events()] == ["1"]
    assert [str(one.state) for one in found.partitions] == ["in_step"]


@pytest.mark.parametrize("cluster", ["wrong", "stranger"])
async def test_source_that_is_not_let_in_is_stalled_and_keeps_the_secret(
    cluster: str, root: Path, store: Store, run: Any, wait_until: Any
) -> None:
    async with run(build(root, store, cluster)) as stage:
        await wait_until(lambda: stage.status().state is SourceState.STALLED)
        status = stage.status()

    assert status.error
    assert "guess" not in status.error


def test_secret_or_certificate_that_is_not_there_is_one_sentence(root: Path, store: Store) -> None:
    with pytest.raises(SettingsError, match="variable MILL_UNSET is not set"):
        build(root, store, "unset")
    (root / "certs" / "client.key").unlink()
    with pytest.raises(SettingsError, match=r"certificates of a Kafka cluster cannot be used \(certs/ca.pem"):
        build(root, store, "mutual")


async def test_cluster_that_nobody_configured_is_off_and_told(root: Path, store: Store) -> None:
    status = build(root, store, "elsewhere")

    assert status == SourceStatus(
        "orders", "kafka", SourceState.STOPPED, error="no cluster elsewhere is configured (kafka_clusters)"
    )
