"""Which executors a service has, and the sentences that keep it from starting without one."""

from __future__ import annotations

import importlib.abc
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from tidemill.dag.definition import Dag
from tidemill.dag.resources import EXECUTORS
from tidemill.errors import SettingsError
from tidemill.executors.absent import AbsentExecutor
from tidemill.executors.build import build_executors
from tidemill.project.workflows import load_source
from tidemill.settings import Settings


def dags(executor: str) -> Mapping[str, Dag]:
    """A project whose only task names this executor."""
    source = f"from tidemill import dag, task\n@task(executor={executor!r})\ndef work(): pass\n@dag\ndef d(): work()"
    return {"d": load_source(source, "workflows/d.py", "d")}


def closed_port() -> int:
    """A port on loopback where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


class _Refusing(importlib.abc.MetaPathFinder):
    """Packages that are not installed."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.split(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def no_engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As without the extras."""
    names = ("ray", "distributed", "fsspec")
    for name in list(sys.modules):
        if name.split(".")[0] in names:
            monkeypatch.delitem(sys.modules, name)
    finder = _Refusing(*names)
    sys.meta_path.insert(0, finder)
    yield
    sys.meta_path.remove(finder)


async def test_engines_that_nobody_names_are_not_started() -> None:
    made = await build_executors(Settings(ray_address="10.255.255.1:1"), dags("thread"))

    assert set(made) == set(EXECUTORS)
    assert isinstance(made["ray"], AbsentExecutor)
    for executor in made.values():
        await executor.close()


@pytest.mark.parametrize("executor", ["ray", "dask"])
async def test_engine_that_is_switched_off_is_a_sentence(executor: str) -> None:
    sentence = (
        f"task 'work' of DAG 'd' has executor=\"{executor}\", and {executor}_address says of no cluster"
    )

    with pytest.raises(SettingsError, match=sentence):
        await build_executors(Settings(), dags(executor))


@pytest.mark.parametrize(
    ("executor", "settings", "sentence"),
    [
        ("ray", {"ray_address": "h:1"}, r"executor=\"ray\" needs an extra: pip install 'tidemill\[ray\]'"),
        (
            "dask",
            {"dask_address": "h:1"},
            r"executor=\"dask\" needs an extra: pip install 'tidemill\[dask\]'",
        ),
        ("thread", {"claim_check_url": "file:///x"}, r"claim_check_url needs an extra: pip install"),
    ],
)
@pytest.mark.usefixtures("no_engines")
async def test_missing_extra_is_a_sentence(executor: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        await build_executors(Settings(**settings), dags(executor))


@pytest.mark.parametrize("address", ["nonsense", "host:port", ":1", ""])
async def test_ray_address_that_is_none_is_a_sentence(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(SettingsError, match="must be HOST:PORT, ray://HOST:PORT or auto"):
        await build_executors(Settings(ray_address=address), dags("ray"))


@pytest.mark.parametrize("scheme", ["", "ray://"])
async def test_ray_that_is_not_there_is_a_sentence(scheme: str) -> None:
    pytest.importorskip("ray")
    address = f"{scheme}127.0.0.1:{closed_port()}"

    with pytest.raises(SettingsError, match=f"ray_address: nothing answers at {address}"):
        await build_executors(Settings(ray_address=address), dags("ray"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense://x"])
async def test_dask_that_is_not_there_is_a_sentence(address: str) -> None:
    pytest.importorskip("distributed")
    address = address.format(port=closed_port())

    with pytest.raises(SettingsError, match="dask_address: nothing answers at"):
        await build_executors(Settings(dask_address=address), dags("dask"))
