"""A disk that runs full: producers are told when to come back, nothing is lost, and the service goes on by itself."""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.notes import wait_until
from tests.acceptance.scene import Scene, staged

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

#: Nothing is refused in advance: the writes themselves must fail.
_SETTINGS = {"TIDEMILL_MIN_FREE_DISK_BYTES": "0", "TIDEMILL_LOG_LEVEL": "ERROR"}
_DISK_BYTES = 24 << 20
_REFUSALS = 10

Full = Callable[[Scene], "contextlib.AbstractContextManager[None]"]


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A small file system of its own at `folder`."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a file system can be mounted by root only: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def _no_space(scene: Scene) -> Iterator[None]:
    """Every byte of the database's file system is taken."""
    ballast = scene.database.with_name("ballast")
    try:
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def _no_longer_files(scene: Scene) -> Iterator[None]:
    """No file of the service can grow beyond the size that its write-ahead log has now."""
    log = scene.database.with_name(scene.database.name + "-wal")
    _, hard = resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        yield
    finally:
        resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def _survive(scene: Scene, full: Full, statuses: set[int]) -> None:
    load = scene.send(jobs=False, pause=0.02)
    await scene.server.start()
    await wait_until(lambda: scene.stream.last > 200)

    with full(scene):
        await wait_until(lambda: len(scene.client.busy) >= _REFUSALS)
        alive = await scene.client.ask("GET", "/health/live")
    position = scene.stream.last
    await wait_until(lambda: scene.stream.last > position + 200)
    await load.finish()
    await scene.settle()

    assert alive.status_code == 200
    assert {status for status, _ in scene.client.busy} <= statuses
    assert await scene.stop_and_check() == []


async def test_service_loses_nothing_when_its_disk_runs_full(tmp_path: Path) -> None:
    async with staged(tmp_path, settings=_SETTINGS) as scene:
        with _small_disk(scene.database.parent):
            await _survive(scene, _no_space, {507})


async def test_service_loses_nothing_when_its_files_cannot_grow(tmp_path: Path) -> None:
    async with staged(tmp_path, settings=_SETTINGS) as scene:
        await _survive(scene, _no_longer_files, {503})
