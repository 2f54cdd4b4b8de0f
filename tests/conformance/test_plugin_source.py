"""A plug-in that is installed as a package is: found by its entry point, checked by its model, held to the suite."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from tests.conformance.sources import BadInput, SourceAdapter, SourceConformance, logged

from tidemill.clock import Clock
from tidemill.errors import DefinitionError
from tidemill.events.event import Event
from tidemill.project.load import load
from tidemill.project.model import PluginSource
from tidemill.project.plugins import load_source_plugin
from tidemill.service.service import Service
from tidemill.settings import Settings
from tidemill.sources.contract import Source
from tidemill.sources.plugin import Surroundings
from tidemill.storage.contract import EventLog, Ledger

PACKAGE = Path(__file__).parents[1] / "data" / "heartbeat_plugin"
ENTRIES = """[tidemill.sources]
lines = tidemill_heartbeat:plugin
broken = tidemill_heartbeat:missing
nothing = tidemill_heartbeat:nothing
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as an installer leaves it: its module and its dist-info on the path."""
    site = tmp_path / "site"
    about = site / "tidemill_heartbeat-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(PACKAGE / "tidemill_heartbeat.py", site)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tidemill-heartbeat\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("tidemill_heartbeat", None)


class LinesAdapter:
    """A file to which lines are appended."""

    keeps_bad_input = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "lines.txt"

    def build(self, log: EventLog, ledger: Ledger, clock: Clock) -> Source:
        plugin = load_source_plugin("lines")
        config = plugin.model.model_validate({"path": self._path.name})
        around = Surroundings(log=log, ledger=ledger, clock=clock, root=self._root)
        source: Source = plugin.build("tail", config, around)
        return source

    async def put(self, keys: Sequence[str]) -> None:
        with self._path.open("a") as file:
            file.write("".join(f"{key}\n" for key in keys))

    async def put_bad(self) -> BadInput:
        with self._path.open("ab") as file:
            file.write(b"caf\xe9\n")
        return BadInput("invalid_encoding", b"caf\xe9")

    def key_of(self, event: Event) -> str:
        return str(event.data)

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        told = int(await ledger.cursor("lines/tail") or 0)
        return set(self._path.read_bytes()[:told].decode().split()) if self._path.exists() else set()


class TestPlugin(SourceConformance):
    """The source of an installed package."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> SourceAdapter:
        return LinesAdapter(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "triggers").mkdir(parents=True)
    return tmp_path / "project"


def write(project: Path, config: str, kind: str = "lines") -> None:
    (project / "triggers" / "lines.yaml").write_text(
        f"sources:\n  - name: tail\n    plugin:\n      kind: {kind}\n      config: {config}\n"
    )


@pytest.fixture
async def service(project: Path) -> AsyncIterator[Service]:
    write(project, "{path: lines.txt, every_seconds: 0.01}")
    service = Service(project, Settings(port=0))
    await service.start()
    yield service
    await service.stop()


async def test_service_runs_the_source_of_a_package(service: Service, project: Path) -> None:
    (project / "lines.txt").write_text("hello\n")

    (entry,) = await logged(service.store.log, 1)

    assert (entry.event.type, entry.event.data) == ("com.example.line", "hello")


def test_definition_holds_the_checked_configuration(project: Path) -> None:
    write(project, "{path: x}")

    (source,) = load(project).sources

    assert isinstance(source, PluginSource)
    assert (source.name, source.kind, source.config.model_dump()) == (
        "tail",
        "lines",
        {"path": "x", "every_seconds": 0.5},
    )


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("lines", "{}", "'path' is missing"),
        (
            "lines",
            "{path: x, every_second: 1}",
            "unknown field 'every_second'; did you mean 'every_seconds'?",
        ),
        ("lines", "{path: x, every_seconds: 0}", "'every_seconds'"),
        ("line", "{}", "no installed package brings sources of the kind 'line'; did you mean 'lines'?"),
        ("broken", "{}", "tidemill_heartbeat:missing cannot be imported"),
        ("nothing", "{}", "tidemill_heartbeat:nothing is no SourcePlugin"),
    ],
)
def test_wrong_plugins_and_configurations_are_refused_with_their_place(
    project: Path, kind: str, config: str, message: str
) -> None:
    write(project, config, kind)

    with pytest.raises(DefinitionError) as refused:
        load(project)

    (problem,) = refused.value.problems
    assert problem.file == "triggers/lines.yaml"
    assert problem.line >= 3
    assert message in problem.message
