"""`tidemill serve`: one service in this process, until a signal or a failed stage.

1. The first SIGTERM or SIGINT drains; the second ends the process at once, which costs nothing but time: what was
   accepted is on disk.
2. Exit codes: 0 after a drain, 1 when a stage failed, 2 when the service was not allowed to start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli.failures import failures_reported
from tidemill.cli.options import ProjectOption

if TYPE_CHECKING:
    from tidemill.settings import Settings

__all__ = ["serve"]


def serve(
    project: ProjectOption = Path(),
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks one. [7070]")
    ] = None,
) -> None:
    """Serve a project: receive events, run its DAGs, deliver completions, answer the API."""
    with failures_reported():
        from tidemill.settings import load

        settings = load(project, host=host, port=port)
        _raise_file_limit()
        failed = _run(project.resolve(), settings)
    raise typer.Exit(1 if failed else 0)


def _run(root: Path, settings: Settings) -> bool:
    """Serve until the end; whether a stage failed."""
    import uvloop

    from tidemill.telemetry.logs import configure

    configure(settings.log_format, settings.log_level)
    return uvloop.run(_serve(root, settings))


async def _serve(root: Path, settings: Settings) -> bool:
    import asyncio
    import logging
    import signal

    from tidemill.service import Service
    from tidemill.service.garbage import collect_rarely

    logger = logging.getLogger(__name__)
    service = Service(root, settings)
    for warning in service.project.warnings:
        logger.warning("project.warning", extra={"warning": warning})

    def drain(number: int) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            # The next one is the kernel's affair: it works whatever this process is busy with.
            signal.signal(each, signal.SIG_DFL)
        logger.info("service.draining", extra={"signal": signal.Signals(number).name})
        service.ask_to_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain, number)
    collect_rarely()
    await service.start()
    failed = await service.wait()
    await service.stop()
    return failed is not None


def _raise_file_limit() -> None:
    """Let the process open as many files as it may: every connection is one."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return  # the limit that there is has to do
