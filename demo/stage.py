"""Where the demo plays: a copy of the example project with one more subscription, and a server on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

__all__ = ["BROKERS", "DemoFailed", "Stage", "free_port"]

ROOT = Path(__file__).parents[1]
#: Where the server of an interactive demo listens when nobody else does.
PORT = 7070
#: Names the brokers; the one setting of the reader's that the demo takes over.
BROKERS = "TIDEMILL_KAFKA_BOOTSTRAP_SERVERS"
_FOLDERS = ("workflows", "triggers", "schemas")
_SECRET = "TIDEMILL_DEMO_SECRET"  # noqa: S105 - the name of the variable
_START_SECONDS = 30.0
_STOP_SECONDS = 40.0
_SUBSCRIPTION = """\
# Written by the demo: every run's end goes to its receiver.
subscriptions:
  - name: demo-receiver
    filters:
      - any:
          - prefix: {type: dev.tidemill.run.}
    webhook:
      url: %s
      secret: {env: %s}
"""


class DemoFailed(Exception):  # noqa: N818 - how the demo ends
    """The demo cannot go on; the message says why."""


class Stage:
    """One served copy of the example project in `folder`."""

    def __init__(self, folder: Path, *, receiver_url: str, secret: str) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.log = folder / "server.log"
        self.url = ""
        self._secret = secret
        self._server: subprocess.Popen[bytes] | None = None
        for name in _FOLDERS:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.inbox.mkdir()
        (folder / "triggers" / "demo.yaml").write_text(_SUBSCRIPTION % (receiver_url, _SECRET), "utf-8")

    def start(self, port: int) -> float:
        """Start the server on `port` (0: any); how many seconds it took to be ready."""
        begun = time.monotonic()
        with self.log.open("wb") as log:
            self._server = subprocess.Popen(  # noqa: S603 - our own command line
                [
                    sys.executable,
                    "-m",
                    "tidemill",
                    "serve",
                    "--project",
                    str(self.folder),
                    "--port",
                    str(port),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_environment(), _SECRET: self._secret},
                # Ctrl-C is the demo's: it ends the server in its own time.
                start_new_session=True,
            )
        while not self._is_ready():
            if self._server.poll() is not None:
                raise DemoFailed(f"the server did not start:\n{self.log.read_text('utf-8', 'replace')}")
            if time.monotonic() - begun > _START_SECONDS:
                raise DemoFailed(f"the server is not ready after {_START_SECONDS:g} s; see {self.log}")
            time.sleep(0.01)
        return time.monotonic() - begun

    @property
    def is_running(self) -> bool:
        """Whether the server lives."""
        return self._server is not None and self._server.poll() is None

    def stop(self) -> None:
        """Let the server drain and end; the copy of the project stays."""
        server = self._server
        if server is None or server.poll() is not None:
            return
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def _is_ready(self) -> bool:
        try:
            note = (self.folder / ".tidemill" / "server.json").read_text("utf-8")
            self.url = json.loads(note)["url"]
            return httpx.get(f"{self.url}/health/ready", trust_env=False).is_success
        except (OSError, ValueError, httpx.HTTPError):
            return False


def free_port() -> int:
    """The port that people know, or 0 (any) when somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT


def _environment() -> dict[str, str]:
    """This process's environment without the reader's own settings: the demo is the same everywhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TIDEMILL_") or name == BROKERS
    }
