"""The JSON Schemas published for editors, made from the models that check the files: they cannot lag behind.

`python -m tidemill.project.publish [FOLDER]` writes them to FOLDER (`schemas/` when not given).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from tidemill.project.schemas import PUBLISHED_PREFIX
from tidemill.project.trigger_file import TriggersFile

__all__ = ["documents", "write"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, str]:
    """Every published schema: file name to text."""
    return {"triggers.v1.json": _document("triggers.v1.json", TriggersFile.model_json_schema())}


def write(folder: Path) -> list[Path]:
    """Write every published schema to `folder`, which is made when it is missing; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in documents().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def _document(name: str, schema: dict[str, Any]) -> str:
    whole = {"$schema": _DIALECT, "$id": PUBLISHED_PREFIX + name, **_without_titles(schema)}
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _without_titles(schema: Any) -> Any:
    """`schema` without the titles that repeat the names of fields (a property called title stays)."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_titles(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str))
    }


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("schemas"))
