"""The service under test as a process of its own, which can be killed and started again. Ended by its own pid only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.notes import wait_until

__all__ = ["DEATHS", "ServerProcess"]

#: What a process ends with that was killed by a run of its own: by a signal, or by an exit (`acceptance.EXIT_CODE`).
DEATHS = (-signal.SIGKILL, 77)

_SERVE = [sys.executable, "-m", "tidemill", "serve"]
#: The same with a probe that kills the process at a commit point.
_SERVE_WITH_FAULTS = [sys.executable, "-m", "tidemill.testing.serve"]
_POLL_SECONDS = 0.01
#: Under load on a small machine a start takes seconds.
START_SECONDS = 30.0


class ServerProcess:
    """`tidemill serve` on a project, on whatever port is free."""

    def __init__(
        self, project: Path, log: Path, environment: Mapping[str, str], *, node: str = "node-1"
    ) -> None:
        """`node` is what it is called among others on the same database."""
        self.node = node
        self._project = project
        self._log = log
        #: What the next one is started with.
        self.environment = {**os.environ, **environment, "TIDEMILL_NODE_NAME": node}
        self._process: subprocess.Popen[bytes] | None = None
        #: Where the last one that came up answered.
        self.url = "http://127.0.0.1:9"
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    async def start(self, *, kill_at: str | None = None, may_die: bool = False) -> bool:
        """True when it is ready; False when it was killed before that, at its kill point or by a run of its own."""
        note = self._project / ".tidemill" / "server.json"
        note.unlink(missing_ok=True)
        self._process = self.spawn(kill_at=kill_at)
        self.starts += 1
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                expected = DEATHS if may_die else (-signal.SIGKILL,) if kill_at else ()
                assert code in expected, f"ended with {code}: {self.log_tail()}"
                return False
            try:
                self.url = json.loads(note.read_text("utf-8"))["url"]
            except (OSError, ValueError):
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return True
        raise AssertionError(f"not ready after {START_SECONDS} s: {self.log_tail()}")

    def spawn(self, *, kill_at: str | None = None) -> subprocess.Popen[bytes]:
        """A process on the same project; the caller ends it."""
        command = _SERVE if kill_at is None else [*_SERVE_WITH_FAULTS, "--kill-at", kill_at]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--project", str(self._project), "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )

    async def wait(self, seconds: float) -> int | None:
        """The exit code; None when it still runs after `seconds`."""
        assert self._process is not None
        process = self._process
        with contextlib.suppress(TimeoutError):
            await wait_until(lambda: process.poll() is not None, seconds=seconds)
        return process.returncode

    def terminate(self) -> None:
        """Ask it to stop in order."""
        assert self._process is not None
        self._process.terminate()

    def kill(self) -> None:
        """End it as a crash would, wherever it stands; does nothing when it has ended."""
        if self.is_running and self._process is not None:
            self._process.kill()
            self._process.wait()

    def suspend(self) -> None:
        """Stop its clock: it does nothing and answers nobody, and knows nothing of it."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on where it stood."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """Everything it logged."""
        return self._log.read_text("utf-8", "replace")

    def log_tail(self) -> str:
        """The end of what it logged."""
        return self._log.read_bytes()[-4000:].decode("utf-8", "replace") if self._log.exists() else ""
