"""A reader who does what a page says: writes its files, runs its commands in order, and compares what it shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.docs.blocks import Block

__all__ = ["Reader"]

_SERVE = "tidemill serve"
_WRITTEN_URL = "http://127.0.0.1:7070"
_START_SECONDS = 30.0
_SECONDS = 60.0
#: How long a command that never ends is looked at.
_ENDLESS_SECONDS = 2.0
#: curl as people type it; in a test a refusal is a failure.
_PRELUDE = """\
set -euo pipefail
curl() { command curl --fail-with-body --silent --show-error --noproxy '*' "$@"; }
"""
_EPILOGUE = """
pwd >"$READER_STATE/pwd"
env -0 >"$READER_STATE/env"
"""


class Reader:
    """Reads one page in `folder`, which becomes the page's project; `close` ends its server."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self._state = folder / "state"
        self._here = self.project
        self._server: subprocess.Popen[bytes] | None = None
        self._url = _WRITTEN_URL
        self._shown = ""
        self._env = _environment(self._state)
        self.project.mkdir()
        self._state.mkdir()

    def write(self, blocks: Iterable[Block]) -> None:
        """Write every block that is a file."""
        for block in blocks:
            if block.path is not None:
                place = self.project / block.path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(block.text, "utf-8")

    def do(self, block: Block) -> None:
        """Do what one block says; what it shows must be what the reader sees."""
        match block.language, block.kind:
            case "sh", "" | "fails":
                self._run(block)
            case "sh", "endless":
                self._look_at(block)
            case "json", "output":
                seen, wanted = json.loads(self._shown), json.loads(block.text)
                assert _is_like(seen, wanted), f"{block}: {seen} is not {wanted}"
            case "json", "":
                json.loads(block.text)
            case "python", "" if block.path is None:
                self._call(block, sys.executable, "-W", "error", "-c", block.text)
            case "python", "" if str(block.path).startswith("tests/"):
                self._call(
                    block, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(block.path)
                )
            case (("python" | "yaml" | "toml"), "") if block.path is not None:
                return  # written, and loaded with the project
            case "text" | "mermaid", "":
                return
            case _:
                raise AssertionError(f"{block}: nobody knows what to do with {' '.join(block.words)!r}")

    def close(self) -> None:
        """End the server, which must drain well."""
        server = self._server
        if server is None:
            return
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
        assert code == 0, self._log()

    # ── running ──

    def _run(self, block: Block) -> None:
        text = block.text.rstrip("\n")
        serves = text == _SERVE or text.endswith(f"\n{_SERVE}")
        if serves:
            text = text.removesuffix(_SERVE)
        elif self._server is None and ("curl" in text or "tidemill " in text) and "init" not in text:
            self._serve()
        self._call(
            block, "bash", "-c", _PRELUDE + self._with_url(text) + _EPILOGUE, fails=block.kind == "fails"
        )
        self._remember(block)
        if serves:
            self._serve()

    def _look_at(self, block: Block) -> None:
        """A command that never ends must show something and go on."""
        command = subprocess.Popen(
            ["bash", "-c", f"exec {self._with_url(block.text)}"],
            cwd=self._here,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            shown, error = command.communicate(timeout=_ENDLESS_SECONDS)
        except subprocess.TimeoutExpired:
            command.kill()
            shown, _ = command.communicate()
            assert shown, f"{block}: it shows nothing"
        else:
            raise AssertionError(f"{block}: it ended: {shown!r} {error!r}")

    def _call(self, block: Block, *command: str, fails: bool = False) -> None:
        done = subprocess.run(
            command,
            cwd=self._here,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert (done.returncode != 0) is fails, (
            f"{block}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        self._shown = done.stdout

    def _remember(self, block: Block) -> None:
        """Where the block's shell ended up, and what it exported."""
        if block.kind:
            return
        self._here = Path((self._state / "pwd").read_text().rstrip("\n"))
        entries = (self._state / "env").read_text().rstrip("\0").split("\0")
        self._env = dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def _with_url(self, text: str) -> str:
        return text.replace(_WRITTEN_URL, self._url)

    # ── the server ──

    def _serve(self) -> None:
        self._note = self._here / ".tidemill" / "server.json"
        with (self._state / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tidemill", "serve", "--port", "0"],
                cwd=self._here,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._note.is_file() or not self._note.read_text():
            assert self._server.poll() is None, self._log()
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.01)
        self._url = json.loads(self._note.read_text())["url"]

    def _log(self) -> str:
        return (self._state / "server.log").read_text("utf-8", "replace")


def _environment(state: Path) -> dict[str, str]:
    """The environment of somebody who set nothing for Tidemill."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIDEMILL_", "PYTEST_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "READER_STATE": str(state)}


def _is_like(seen: Any, wanted: Any) -> bool:
    """Whether `seen` is what was shown; "..." stands for anything."""
    if wanted == "...":
        return True
    if isinstance(wanted, Mapping) and isinstance(seen, Mapping):
        return seen.keys() == wanted.keys() and all(_is_like(seen[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list) and isinstance(seen, list):
        return len(seen) == len(wanted) and all(map(_is_like, seen, wanted))
    return bool(seen == wanted)
