"""Folders whose file system tells nothing of changes: found out, said, and listed instead."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.folder_scene import Scene, until

from tidemill.clock import SystemClock
from tidemill.sources.contract import SourceState
from tidemill.sources.files import folder, mounts, probe, watch
from tidemill.storage.sqlite import open_store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its mounts")

FAST = timedelta(milliseconds=20)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "inbox").mkdir()
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=SystemClock())
    yield Scene(tmp_path / "inbox", store)
    await store.close()


def polled(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.message == "source.polling"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "virtiofs"])
async def test_network_file_systems_are_polled_and_that_is_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    monkeypatch.setattr(mounts, "kind_of", lambda _folder: kind)
    monkeypatch.setattr(watch.Watch, "start", lambda _self: pytest.fail("nothing is to be watched"))
    caplog.set_level(logging.INFO)
    source = scene.build(poll=FAST)

    async with scene.running(source, until=SourceState.DEGRADED):
        scene.land("a.csv")
        await scene.logged(1)
        scene.land("b.csv")
        subjects = await scene.subjects(2)
        status = source.status()

    assert subjects == ["a.csv", "b.csv"]
    assert (status.mode, status.state) == ("polling", SourceState.DEGRADED)
    assert kind in status.error
    assert [(record.source, record.seconds) for record in polled(caplog)] == [("inbox", 0.02)]


async def test_file_system_that_tells_nothing_of_a_test_file_is_polled(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.05)
    source = scene.build(poll=FAST)
    with monkeypatch.context() as deaf:
        deaf.setattr(watch._Translator, "_tell", lambda *_, **__: None)
        async with scene.running(source, until=SourceState.DEGRADED):
            scene.land("polled.csv")
            polled_subjects = await scene.subjects(1)
            mode = source.status().mode
            deaf.undo()
            await until(lambda: source.status().mode == "events")  # tested again by itself
            await until(lambda: source.status().state is SourceState.LIVE)

    assert polled_subjects == ["polled.csv"]
    assert mode == "polling"
    assert len(polled(caplog)) == 1


async def test_local_folder_is_watched_and_the_test_file_leaves_no_trace(scene: Scene) -> None:
    source = scene.build()

    async with scene.running(source):
        mode = source.status().mode
        left = list(scene.folder.iterdir())

    assert mode == "events"
    assert left == []


async def test_polling_that_is_asked_for_is_no_fault(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.Watch, "start", lambda _self: pytest.fail("nothing is to be watched"))
    source = scene.build(watch="polling", poll=FAST)

    async with scene.running(source):
        scene.land("a.csv")
        await scene.logged(1)
        status = source.status()

    assert (status.state, status.mode, status.error) == (SourceState.LIVE, "polling", "")


async def test_events_can_be_asked_for_where_the_kind_says_no(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "kind_of", lambda _folder: "fuse.bindfs")
    source = scene.build(watch="events")

    async with scene.running(source):
        assert source.status().mode == "events"


def test_kind_of_a_folder_is_what_the_mounts_say(tmp_path: Path) -> None:
    with folder.open_root(tmp_path) as root:
        kind = mounts.kind_of(root)
    with folder.open_root(Path("/proc")) as proc:
        assert mounts.kind_of(proc) == "proc"

    mounted = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    assert kind in mounted - {"proc", "sysfs"}


@pytest.mark.parametrize(
    ("kind", "silent"),
    [("ext4", False), ("xfs", False), ("overlay", False), ("tmpfs", False), ("fuseblk", False), (None, False)]
    + [(kind, True) for kind in ("nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.rclone", "ceph", "vboxsf")],
)
def test_kinds_that_tell_nothing_are_known(kind: str | None, silent: bool) -> None:
    assert mounts.tells_nothing(kind) is silent
