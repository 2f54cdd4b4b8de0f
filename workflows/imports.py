"""A CSV file that lands in `inbox/`: checked row by row, then summed up."""

import csv
from pathlib import Path
from typing import Any

from tidemill import DoNotRetry, dag, task

COLUMNS = ["sku", "quantity", "unit_cents"]


@task
def check(folder: str, path: str) -> dict[str, Any]:
    """Read the file once; the first row that is wrong fails the run with its line."""
    rows = pieces = cents = 0
    articles: set[str] = set()
    with (Path(folder) / path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if reader.fieldnames != COLUMNS:
                raise DoNotRetry(f"{path}: the header is {reader.fieldnames}, not {COLUMNS}")
            for row in reader:
                sku, quantity, unit_cents = parse(row, f"{path} line {reader.line_num}")
                articles.add(sku)
                rows, pieces, cents = rows + 1, pieces + quantity, cents + quantity * unit_cents
        except (csv.Error, UnicodeDecodeError) as error:
            raise DoNotRetry(f"{path} line {reader.line_num}: not a CSV file ({error})") from error
    if not rows:
        raise DoNotRetry(f"{path}: no rows")
    return {"rows": rows, "articles": sorted(articles), "pieces": pieces, "cents": cents}


@task
async def summarise(path: str, found: dict[str, Any]) -> dict[str, Any]:
    """The result of the run."""
    return {
        "file": path,
        "articles": len(found["articles"]),
        **{k: found[k] for k in ("rows", "pieces", "cents")},
    }


def parse(row: dict[str, Any], place: str) -> tuple[str, int, int]:
    """The values of one row; `place` says where it stands."""
    if None in row or None in row.values():
        raise DoNotRetry(f"{place}: a row has {len(COLUMNS)} values")
    if not row["sku"]:
        raise DoNotRetry(f"{place}: sku is empty")
    numbers = []
    for name in COLUMNS[1:]:
        if not (row[name].isascii() and row[name].isdigit()):
            raise DoNotRetry(f"{place}: {name} {row[name]!r} is no whole number")
        numbers.append(int(row[name]))
    return row["sku"], numbers[0], numbers[1]


@dag(dag_id="import_csv", description="Check and sum up a delivery note.", tags=["files"])
def import_csv(folder: str, path: str) -> Any:
    """Large data stays in its file: tasks hand on where it is and what they found."""
    return summarise(path, check(folder, path))
