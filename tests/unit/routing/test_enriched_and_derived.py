"""Enrichments and derived events on their way through the router, with and without an admission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill.testing.harness import Harness, MakeHarness

_LOOK_UP = """
CALLS = []

async def find(name):
    CALLS.append(name)
    if name == "nobody":
        raise LookupError("nobody is called so")
    return {"age": len(name)}
"""
_WORK = """
from tidemill import dag, task

@task
async def keep(value):
    return value

@dag
def take(value=None):
    return keep(value)
"""
_TRIGGERS = """
triggers:
  - name: {name}
    dag: take
    filters: [{{exact: {{type: x}}}}]
    enrich: {{person: {{function: "people:find", arguments: {{name: $.data.name}}}}}}
    parameters: {{value: $.enriched.person.age}}
{admission}
"""
_DERIVE = """
derive:
  - name: adults
    filters: [{exact: {type: x}}]
    event: {type: adult, subject: $.data.name}
    data: {of: $.data.name}
triggers:
  - name: on-adult
    dag: take
    filters: [{exact: {type: adult}}]
    parameters: {value: $.data.of}
"""


def project(folder: Path, triggers: str) -> Path:
    for name, text in {
        "workflows/people.py": _LOOK_UP,
        "workflows/work.py": _WORK,
        "triggers/t.yaml": triggers,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


async def values(h: Harness) -> list[Any]:
    return sorted(orjson.loads(run.parameters)["value"] for run in await h.runs())


@pytest.mark.parametrize(
    "admission",
    ["", "    admission: {concurrency: {limit: 5}}", "    admission: {debounce: {period: 1s, key: $.id}}"],
)
async def test_values_that_were_looked_up_are_parameters(
    admission: str, tmp_path: Path, tidemill_harness: MakeHarness
) -> None:
    root = project(tmp_path, _TRIGGERS.format(name="t", admission=admission))
    async with tidemill_harness(root=root) as h:
        for name in ("ann", "berta", "nobody"):
            await h.send(type="x", data={"name": name})
        await h.run_until_idle()
        await h.advance(2)

        assert await values(h) == [3, 5]
        assert [letter.code for letter in await h.dead_letters()] == ["enrichment_failed"]


async def test_derived_event_is_in_the_log_once_and_starts_what_matches_it(
    tmp_path: Path, tidemill_harness: MakeHarness
) -> None:
    async with tidemill_harness(root=project(tmp_path, _DERIVE)) as h:
        h.crash_at("route.after_commit")
        await h.send(type="x", id="1", data={"name": "ann"})
        await h.run_until_idle()
        await h.restart()
        await h.send(type="x", data={"other": 1})
        await h.run_until_idle()

        assert [event.subject for event in await h.events(type="adult")] == ["ann"]
        assert await values(h) == ["ann"]
        (letter,) = await h.dead_letters()
        assert (letter.code, letter.origin) == ("mapping_failed", "adults")
