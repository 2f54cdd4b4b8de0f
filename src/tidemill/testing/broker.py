"""A real Apache Kafka broker (KRaft, one node) on loopback, for tests, benchmarks and the demo.

The jars come from `scripts/kafka-jars`; Java 17 runs them. A broker is ended by its own process id, so that
nothing else on the machine is touched, and keeps its data and ports over `kill` and `restart`. All of this
blocks: call it through `asyncio.to_thread` from a running event loop.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tidemill.errors import TidemillError

__all__ = ["BrokerError", "KafkaBroker", "SecureListeners", "find_jars", "require_jars"]

#: Names the folder with the broker's jars, where it is not `.cache/kafka/libs` of the repository.
JARS_VARIABLE = "TIDEMILL_KAFKA_JARS"

_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
#: Metadata request, version 1, correlation id 7, client id "ready", about no topic.
_METADATA_REQUEST = struct.pack(">hhih5si", 3, 1, 7, 5, b"ready", 0)


class BrokerError(TidemillError):
    """A broker cannot be started here, or did not come up; the message says what is missing."""


def find_jars() -> Path | None:
    """The folder with the broker's jars, None when nobody has fetched them."""
    named = os.environ.get(JARS_VARIABLE)
    folder = Path(named) if named else Path(__file__).parents[3] / ".cache" / "kafka" / "libs"
    return folder if any(folder.glob("kafka_*.jar")) else None


def require_jars() -> Path:
    """The folder with the broker's jars; raises `BrokerError` when they or Java are missing."""
    if shutil.which("java") is None:
        raise BrokerError("no java on the PATH; install a Java 17 runtime")
    jars = find_jars()
    if jars is None:
        raise BrokerError(f"no Kafka jars; run scripts/kafka-jars or set {JARS_VARIABLE}")
    return jars


@dataclass(frozen=True, slots=True)
class SecureListeners:
    """Two more listeners: SASL over TLS (PLAIN, SCRAM-SHA-512), and TLS that asks for a client's certificate."""

    #: The broker's private key (PKCS #8) and certificate, PEM.
    keystore: Path
    #: Authorities of clients' certificates, PEM.
    truststore: Path
    user: str
    password: str


class KafkaBroker:
    """One broker with its data under `workdir`; a context manager that starts and stops it."""

    def __init__(self, jars: Path, workdir: Path, *, secure: SecureListeners | None = None) -> None:
        self._jars = jars
        self._workdir = workdir
        self._config = workdir / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._secure = secure
        #: Where clients connect by SASL over TLS, and by TLS with a certificate; "" without `SecureListeners`.
        self.sasl_servers = ""
        self.tls_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect; the same over `kill` and `restart`."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running broker."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Return when the broker answers; formats the data folder the first time."""
        if self._process is not None:
            return
        if not self._config.exists():
            self._format()
        with (self._workdir / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                self._java("kafka.Kafka", str(self._config)),
                cwd=self._workdir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Shut the broker down in order."""
        if (process := self._process) is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Start again with the same data and ports."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _format(self) -> None:
        self._workdir.mkdir(parents=True, exist_ok=True)
        self._port, controller, sasl, tls = _free_ports(4)
        unfinished = self._config.with_suffix(".new")
        properties = _properties(self._port, controller, self._workdir / "data")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # In one word: one id in 64 begins with a hyphen.
        command = self._java("kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}")
        if self._secure is not None:
            self.sasl_servers, self.tls_servers = f"127.0.0.1:{sasl}", f"127.0.0.1:{tls}"
            properties = _secured(properties, self._secure, sasl, tls)
            who = f"name={self._secure.user},password={self._secure.password}"
            command += ["--add-scram", f"SCRAM-SHA-512=[{who}]"]
        unfinished.write_text(properties, "utf-8")
        formatted = subprocess.run(  # noqa: S603 - our own command line
            [*command, "-c", str(unfinished)], cwd=self._workdir, capture_output=True, text=True, check=False
        )
        if formatted.returncode:
            raise BrokerError(f"the broker's storage could not be formatted: {formatted.stderr[-2000:]}")
        unfinished.rename(self._config)

    def _java(self, main: str, *arguments: str) -> list[str]:
        return ["java", *_JVM, "-cp", f"{self._jars}/*", main, *arguments]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self._port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise BrokerError(f"the broker did not come up: {self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def _log_tail(self) -> str:
        return (self._workdir / "kafka.log").read_bytes()[-2000:].decode("utf-8", "replace")


def _properties(port: int, controller_port: int, data: Path) -> str:
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1000
log.segment.delete.delay.ms=1000
"""


def _secured(properties: str, secure: SecureListeners, sasl: int, tls: int) -> str:
    """The properties with the two further listeners."""
    lines = []
    for line in properties.splitlines():
        name = line.partition("=")[0]
        if name in {"listeners", "advertised.listeners"}:
            line += f",SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls}"
        if name == "listener.security.protocol.map":
            line += ",SASL:SASL_SSL,TLS:SSL"
        lines.append(line)
    login = f'username="{secure.user}" password="{secure.password}" user_{secure.user}="{secure.password}";'
    for name in ("sasl", "tls"):
        at = f"listener.name.{name}"
        lines += [
            f"{at}.ssl.keystore.type=PEM",
            f"{at}.ssl.keystore.location={secure.keystore}",
            f"{at}.ssl.truststore.type=PEM",
            f"{at}.ssl.truststore.location={secure.truststore}",
        ]
    modules = "org.apache.kafka.common.security"
    lines += [
        "listener.name.tls.ssl.client.auth=required",
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
        f"listener.name.sasl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required {login}",
        f"listener.name.sasl.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;",
    ]
    return "\n".join(lines) + "\n"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def _answers(port: int) -> bool:
    """True when the broker lists itself in its metadata."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            answer = _receive(connection, 12)
    except OSError:
        return False
    _, correlation, brokers = struct.unpack(">iii", answer)
    return bool(correlation == 7 and brokers > 0)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionResetError
        received += chunk
    return received
