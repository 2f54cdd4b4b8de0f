"""What the package never does: run text as code, call a shell, fill values into SQL, compare digests by ==."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import tidemill

PACKAGE = Path(tidemill.__file__).parent
#: (file, call) that run the project owner's own Python files, which is what they are for.
OWNERS_CODE = {
    ("dag/annotations.py", "eval"),
    ("project/kept_modules.py", "compile"),
    ("dag/context.py", "eval"),
    ("project/workflows.py", "compile"),
    ("project/workflows.py", "exec"),
}
#: Files whose SQL names tables, columns or publications that are constants or quoted identifiers.
NAMES_IN_SQL = {"storage/transfer.py", "storage/sqlite/migrate.py", "sources/database/slot.py"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
READS_CODE = {"pickle", "cPickle", "dill", "marshal", "shelve", "cloudpickle", "joblib", "jinja2", "mako"}
SQL_METHODS = {
    *("execute", "executemany", "executescript", "fetch", "fetchval", "fetchrow", "prepare", "text"),
}
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|WITH|BEGIN|COPY|SET)\s")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("testing/"):  # servers and faults for tests, never imported by the service
            yield name, parsed(path)


def calls() -> Iterator[tuple[str, ast.Call]]:
    for name, tree in modules():
        yield from ((name, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_package_runs_no_text_as_code_but_the_owners_own_files() -> None:
    found = {
        (name, call.func.id)
        for name, call in calls()
        if isinstance(call.func, ast.Name) and call.func.id in RUNS_CODE
    }

    assert found == OWNERS_CODE


def test_package_imports_nothing_that_makes_code_of_bytes() -> None:
    found = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            match node:
                case ast.Import():
                    imported = [one.name for one in node.names]
                case ast.ImportFrom():
                    imported = [node.module or ""]
                case _:
                    continue
            found |= {(name, one) for one in imported if one.partition(".")[0] in READS_CODE}

    assert not found


def test_package_calls_no_shell_and_no_unsafe_loader() -> None:
    found = set()
    for name, call in calls():
        called = call.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            whole = f"{called.value.id}.{called.attr}"
            if whole in {"os.system", "os.popen", "asyncio.create_subprocess_shell"} or (
                called.value.id == "yaml"
                and called.attr not in {"parse", "YAMLError", "safe_dump", "SafeLoader"}
            ):
                found.add((name, whole))
        for given in call.keywords:
            if given.arg == "shell" and not (isinstance(given.value, ast.Constant) and not given.value.value):
                found.add((name, "shell"))

    assert not found


def test_sql_is_never_built_of_values() -> None:
    found = {
        name
        for name, call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in SQL_METHODS
        and call.args
        and is_built(call.args[0])
    }

    assert found <= NAMES_IN_SQL


def test_sql_is_nowhere_written_with_places_to_fill_in() -> None:
    found = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        and isinstance(node.values[0], ast.Constant)
        and SQL.match(str(node.values[0].value))
    }

    assert found <= NAMES_IN_SQL


def is_built(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr():
            return True
        case ast.BinOp(left=left, right=right):
            return not (isinstance(left, ast.Constant) and isinstance(right, ast.Constant))
        case ast.Call(func=ast.Attribute(attr="format")):
            return True
    return False


def test_digests_and_signatures_are_not_compared_by_equality() -> None:
    words = ("hmac", "signature", "token", "secret")
    found = []
    for name, tree in modules():
        if not name.startswith(("sources/webhook", "sources/signature", "api/auth", "sinks/")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                sides = (node.left, *node.comparators)
                if any(isinstance(one, ast.Constant) for one in sides):
                    continue
                if any(word in ast.unparse(one).lower() for one in sides for word in words):
                    found.append((name, ast.unparse(node)))

    assert not found
