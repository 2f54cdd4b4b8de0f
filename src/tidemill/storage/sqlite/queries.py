"""Named queries: every statement stands in `queries.sql` under its name and purpose."""

from __future__ import annotations

from importlib import resources

__all__ = ["QUERIES", "load_queries"]


def load_queries(text: str) -> dict[str, str]:
    """Split `-- name: purpose` headed statements into name → SQL."""
    queries: dict[str, str] = {}
    name, lines = "", list[str]()
    for line in [*text.splitlines(), "-- end:"]:
        if line.startswith("-- ") and ":" in line:
            if name:
                queries[name] = " ".join(" ".join(lines).split()).removesuffix(";")
            name, lines = line[3 : line.index(":")].strip(), []
        else:
            lines.append(line)
    return queries


QUERIES = load_queries(resources.files(__package__).joinpath("queries.sql").read_text("utf-8"))
