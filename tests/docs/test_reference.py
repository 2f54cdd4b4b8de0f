"""Reference pages say what the code says, no more and no less."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.docs.blocks import ROOT, pages

from tidemill.errors import REJECTION_STATUS
from tidemill.events import lifecycle
from tidemill.runs.state import RunPhase, TaskState
from tidemill.telemetry.names import LOG_EVENTS

SOURCE = ROOT / "src" / "tidemill"
_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}
_EVENT_NAME = re.compile(r"[a-z]+\.[a-z_]+\Z")


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = _load_generator()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_generated_parts_are_what_the_code_says(page: Path) -> None:
    text = page.read_text("utf-8")

    assert generate.rendered(text) == text, "run `python docs/generate.py`"


def test_every_part_is_on_exactly_one_page() -> None:
    found = re.findall(
        r"<!-- generated: ([a-z-]+) -->", "\n".join(page.read_text("utf-8") for page in pages())
    )

    assert sorted(found) == sorted(generate.PARTS)


def test_words_of_the_tables_are_those_of_the_code() -> None:
    assert list(generate.RUN_STATES) == list(RunPhase)
    assert list(generate.TASK_STATES) == list(TaskState)
    assert list(generate.REJECTIONS) == list(REJECTION_STATUS)
    assert {str(name) for name in lifecycle.Type} <= {str(name) for name in generate.EVENT_TYPES}


def test_every_own_type_in_the_code_is_on_the_page() -> None:
    written = {
        value
        for _, tree in _modules()
        for value in _texts(tree)
        if re.fullmatch(r"dev\.tidemill\.[a-z_]+\.[a-z_]+\.v1", value)
    }

    assert written == {str(name) for name in generate.EVENT_TYPES}


def test_run_arrows_end_where_states_are_final() -> None:
    leaving = {before for before, _, _ in generate._RUN_ARROWS}

    assert not leaving & generate.state.FINAL_RUN_STATES
    assert {after for _, after, _ in generate._RUN_ARROWS} | {RunPhase.WAITING} == set(RunPhase)


def test_log_events_in_the_code_are_those_of_the_table() -> None:
    names = {one.name for one in LOG_EVENTS}

    logged = {name for name, _ in _logged()}

    assert logged == names


def test_log_events_have_the_level_of_the_table() -> None:
    levels = {one.name: one.level for one in LOG_EVENTS}

    wrong = {(name, level) for name, level in _logged() if level is not None and levels[name] != level}

    assert not wrong


def test_codes_of_the_api_are_on_the_page() -> None:
    given = set()
    for path, tree in _modules():
        if path.parent.name == "api" and path.name != "auth.py":
            given |= _argument(tree, "problem", 1) | _argument(tree, "Invalid", 0)
            given |= _argument(tree, "problem_document", 1)
    given |= {"invalid_request", "request_failed"}  # of the table in `problems`

    assert given - set(REJECTION_STATUS) == set(generate.API_CODES)


def test_codes_of_dead_letters_are_on_the_page() -> None:
    given = {"loop_limit"}  # by the name of a constant
    for _, tree in _modules():
        given |= (
            _argument(tree, "dead_letter", 2)
            | _argument(tree, "_dead_letter", 2)
            | _argument(tree, "GiveUp", 0)
        )
        given |= _keyword(tree, "DeadLetter", "code")
    text = (SOURCE / "sinks" / "schedule.py").read_text("utf-8")
    given |= set(re.findall(r'max_attempts, "([a-z_]+)"', text))

    assert given == set(generate.DEAD_LETTERS)


# ── reading the code ──────────────────────────────────────────────────────────────────────────────────────


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def _texts(tree: ast.AST) -> Iterator[str]:
    return (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name in (
            getattr(node.func, "id", None),
            getattr(node.func, "attr", None),
        ):
            yield node


def _argument(tree: ast.AST, function: str, place: int) -> set[str]:
    """Texts that are the argument at `place` of calls of `function`."""
    found: list[Any] = [call.args[place] for call in _calls(tree, function) if len(call.args) > place]
    return {one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _keyword(tree: ast.AST, function: str, name: str) -> set[str]:
    found = [one.value for call in _calls(tree, function) for one in call.keywords if one.arg == name]
    return {one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _logged() -> Iterator[tuple[str, str | None]]:
    """Every event that is logged, with its level; a name that is chosen at run time has no level here."""
    for _, tree in _modules():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                if getattr(call.func.value, "id", None) != "logger":
                    continue
                message = call.args[0]
                if isinstance(message, ast.Constant):
                    yield str(message.value), _LEVELS[call.func.attr]
                else:
                    yield from ((text, None) for text in _texts(function) if _EVENT_NAME.match(text))
