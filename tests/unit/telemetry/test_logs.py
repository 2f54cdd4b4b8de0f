"""Log lines: one for each event, whatever the values and the exceptions hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tidemill.telemetry.logs import configure

FORGED = "x\n2026-01-01T00:00:00Z [error    ] subscription.disabled \x1b[31m\u2028 \r\nnext"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_console_line_cannot_be_forged_by_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "INFO")

    logging.getLogger("tidemill.x").warning("request.failed", extra={"path": FORGED, "kinds": [FORGED]})

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_console_line_cannot_be_forged_by_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "INFO")

    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("tidemill.x").exception("request.failed")

    first, *rest = capsys.readouterr().err.rstrip("\n").splitlines()
    assert "request.failed" in first
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in "".join(rest)


def test_machine_line_holds_values_and_exceptions_in_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "INFO")

    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("tidemill.x").exception("request.failed", extra={"path": FORGED})

    (line,) = capsys.readouterr().err.splitlines()
    told: dict[str, Any] = json.loads(line)
    assert told["event"] == "request.failed"
    assert "\x1b" not in told["path"]


@pytest.mark.parametrize("library", ["botocore", "s3fs", "httpcore", "sqlalchemy", "urllib3"])
def test_debug_level_keeps_clients_quiet_that_would_show_credentials(library: str) -> None:
    configure("json", "DEBUG")

    assert not logging.getLogger(library).isEnabledFor(logging.INFO)
