"""A real PostgreSQL server on loopback, for tests and benchmarks.

The binaries are those of the system's package. A server refuses to run as root: then it runs as the package's own
user. It is ended by its own process id and keeps its data and port over `kill` and `restart`. All of this blocks: call
it through `asyncio.to_thread` from a running event loop.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tidemill.errors import TidemillError
from tidemill.testing.network import CuttableNetwork

__all__ = ["PostgresError", "PostgresServer", "find_binaries", "require_binaries"]

#: Names the folder with initdb and postgres, where they are neither on the PATH nor where Debian puts them.
BINARIES_VARIABLE = "TIDEMILL_POSTGRES_BINARIES"

_USER = "postgres"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02


class PostgresError(TidemillError):
    """A server cannot be started here, or did not come up; the message says what is missing."""


def find_binaries() -> Path | None:
    """The folder with the newest server's binaries, None when there are none."""
    if named := os.environ.get(BINARIES_VARIABLE):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3].zfill(4))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).parent


def require_binaries() -> Path:
    """The folder with the server's binaries; raises `PostgresError` when there are none."""
    binaries = find_binaries()
    if binaries is None:
        raise PostgresError(f"no PostgreSQL server is installed; install it or set {BINARIES_VARIABLE}")
    return binaries


class PostgresServer:
    """One server with its data under `workdir`; a context manager that starts and stops it."""

    def __init__(
        self,
        binaries: Path,
        workdir: Path,
        *,
        options: tuple[str, ...] = (),
        network: CuttableNetwork | None = None,
    ) -> None:
        """In `network` it listens on each of its addresses, and on loopback elsewhere."""
        self._binaries = binaries
        self._network = network
        self._addresses = ("127.0.0.1",) if network is None else network.addresses
        self._workdir = workdir
        self._data = workdir / "data"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def url(self, database: str = "postgres", *, address: str | None = None) -> str:
        """Where clients connect; the same over `kill` and `restart`. `address` is one of the network's."""
        return f"postgresql://postgres@{address or self._addresses[0]}:{self._port}/{database}"

    def start(self) -> None:
        """Return when the server answers; makes its data folder the first time."""
        if self._process is not None:
            return
        if not self._data.exists():
            self._make()
        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self._port), "-k", ""]
        listen = f"listen_addresses={','.join(self._addresses)}"
        settings = (listen, "max_connections=100", *self._options)
        line = [*map(str, command), *(part for one in settings for part in ("-c", one))]
        user = _as_server_user()
        if self._network is not None:  # who is no longer root cannot enter it
            owner = pwd.getpwnam(_USER)
            line, user = self._network.command(line, uid=owner.pw_uid, gid=owner.pw_gid), {}
        with (self._workdir / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._workdir,
                start_new_session=True,
                **user,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Shut the server down; sessions are cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a crash would: nothing is written any more."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Start again with the same data and port."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if (process := self._process) is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def run(self, sql: str, database: str = "postgres") -> str:
        """What a statement returns, as text."""
        psql = [str(self._binaries / "psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(database)]
        done = subprocess.run(psql, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode:
            raise PostgresError(done.stderr.strip())
        return done.stdout.strip()

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make an empty database, or a copy of another one, and return its address."""
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING \'UTF8\'')
        return self.url(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _make(self) -> None:
        self._workdir.mkdir(parents=True, exist_ok=True)
        user = _as_server_user()
        if user:
            shutil.chown(self._workdir, _USER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        initdb = [
            self._binaries / "initdb",
            "-D",
            self._data,
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "-N",
        ]
        made = subprocess.run(  # noqa: S603 - our own command line
            [*map(str, initdb), "--locale=C.UTF-8"],
            cwd=self._workdir,
            capture_output=True,
            text=True,
            check=False,
            **user,
        )
        if made.returncode:
            raise PostgresError(f"the server's data could not be made: {made.stderr[-2000:]}")
        if self._network is not None:
            with (self._data / "pg_hba.conf").open("a", encoding="utf-8") as access:
                access.write(f"host all all {self._network.network} trust\n")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", self._addresses[0], "-p", str(self._port)]
        while subprocess.run(ready, check=False).returncode:  # noqa: S603 - our own command line
            if process.poll() is not None or time.monotonic() > deadline:
                self._end(signal.SIGQUIT)
                raise PostgresError(f"the server did not come up: {self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def _log_tail(self) -> str:
        return (self._workdir / "postgres.log").read_bytes()[-2000:].decode("utf-8", "replace")


def _as_server_user() -> dict[str, Any]:
    """Arguments for `subprocess` that make the server run as somebody who may."""
    return {"user": _USER, "group": _USER} if os.geteuid() == 0 else {}
