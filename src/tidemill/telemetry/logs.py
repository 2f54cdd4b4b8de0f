"""How log lines look: the standard library's logging, rendered by structlog for people or for machines."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

__all__ = ["configure"]

#: Clients of object stores and databases: at debug level they show what they send, credentials too.
_CLIENTS = ("botocore", "aiobotocore", "boto3", "fsspec", "s3fs", "gcsfs", "urllib3", "sqlalchemy")
#: Passed by position: the renderer's name for it changed between its versions.
_EVENT_WIDTH = 22
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(form: Literal["console", "json"], level: str) -> None:
    """Send all log lines to standard error; control characters in values are escaped."""
    import structlog

    def facts(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        record: logging.LogRecord = line["_record"]
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = _plain(value)
        line["event"] = _plain(line["event"])
        return line

    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if form == "json"
        else structlog.dev.ConsoleRenderer(_EVENT_WIDTH, colors=sys.stderr.isatty(), sort_keys=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            facts,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _indent_exception,
            renderer,
        ],
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level)
    # Its errors while a broker is down are told once, by the source (`source.stalled`).
    for library in ("aiokafka", "asyncpg"):  # what they say of outages, our own events say better
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for noisy in ("aiosqlite", "httpx", "httpcore", "watchdog", "asyncio", "uvicorn", *_CLIENTS):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _indent_exception(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What an exception says may come from outside: none of its lines can pass for a log line."""
    if isinstance(text := line.get("exception"), str):
        line["exception"] = "\n".join(f"    {_plain(one)}" for one in text.split("\n"))
    return line


def _plain(value: Any) -> Any:
    """Text in which nothing can pass for another line or move a terminal's cursor."""
    if isinstance(value, str) and not value.isprintable():
        return "".join(
            sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in value
        )
    return value
