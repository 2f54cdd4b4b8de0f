"""`tidemill serve` when a stage ends by itself; as a process it is shown in tests/integration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tidemill.routing.router import Router

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_serve_ends_with_one_when_a_stage_fails(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(router: Router) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Router, "run", fail)

    result = run("serve", "--port", "0")

    assert result.exit_code == 1
    assert not (project / ".tidemill" / "server.json").exists()
