"""Named queries: every statement stands in a file `queries.sql` under its name and purpose."""

from __future__ import annotations

from importlib import resources

__all__ = ["load_migrations", "load_queries"]


def load_queries(package: str) -> dict[str, str]:
    """Name → SQL of the statements in `queries.sql` of `package`, each headed by `-- name: purpose`."""
    text = resources.files(package).joinpath("queries.sql").read_text("utf-8")
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


def load_migrations(package: str) -> list[tuple[int, str]]:
    """(number, SQL) of every migration of `package`, in order."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_", 1)[0]), folder.joinpath(name).read_text("utf-8")) for name in files]
