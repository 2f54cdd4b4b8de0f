"""What a service imports to start: what its project does not ask for costs it neither memory nor time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: Each costs megabytes, or a tenth of a second, or both.
HEAVY = [
    *("ahocorasick_rs", "aiokafka", "asyncpg", "boto3", "cel", "cloudevents", "cryptography", "dask"),
    *("distributed", "fsspec", "httpx", "jsonschema_rs", "networkx", "numpy", "psutil", "ray", "rustworkx"),
    *("sqlalchemy", "standardwebhooks", "watchdog"),
]

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tidemill.service import Service
from tidemill.settings import load

async def main(root):
    service = Service(root, load(root, port=0))
    await service.start()
    print(json.dumps([name for name in sys.argv[2:] if name in sys.modules]))
    await service.stop()

asyncio.run(main(Path(sys.argv[1])))
"""

WORKFLOW = """
from tidemill import dag, task

@task
async def hello() -> None: ...

@dag
def first() -> None: hello()

@dag
def second() -> None: hello()
"""

CHAINED = """
triggers:
  - name: begin
    filters: [{exact: {type: com.example.order}}]
    dag: first
  - name: go-on
    pattern: {type: [dev.tidemill.run.succeeded.v1], data: {dag: [first]}}
    dag: second
"""


def test_a_start_imports_nothing_heavy_that_the_project_does_not_ask_for(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "orders.py").write_text(WORKFLOW)
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "orders.yaml").write_text(CHAINED)

    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *HEAVY],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert told.stdout == "[]\n", told.stderr
