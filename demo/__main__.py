"""Serves the example project, sends it real inputs, shows what becomes of them, and leaves the server running.

`--once` ends by itself: exit code 0 when every expected run succeeded and every completion was received.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from demo import inputs
from demo.receiver import Receiver
from demo.stage import BROKERS, ROOT, DemoFailed, Stage, free_port
from demo.watch import Watch
from tidemill.service.note import find_note

#: Where an interactive demo leaves its project, for the reader to look at and change.
FOLDER = ROOT / ".tidemill" / "demo"


def main() -> int:
    """The demo; its exit code."""
    parser = argparse.ArgumentParser(prog="demo", description="Serve the example project and feed it.")
    parser.add_argument("--once", action="store_true", help="end by itself instead of serving on")
    once = parser.parse_args().once
    console = Console(highlight=False)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    try:
        if once:
            with tempfile.TemporaryDirectory(prefix="tidemill-demo-") as folder:
                return play(Path(folder) / "project", console, once=True)
        return play(_fresh(FOLDER), console, once=False)
    except DemoFailed as error:
        console.print(f"[red]error:[/] {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def play(folder: Path, console: Console, *, once: bool) -> int:
    """The whole demo in `folder`, which must not exist."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    receiver = Receiver(secret)
    try:
        stage = Stage(folder, receiver_url=receiver.url, secret=secret)
        try:
            good = _feed(stage, receiver, console, port=0 if once else free_port())
            if not once and stage.is_running:
                _serve_on(stage, receiver, console)
        finally:
            stage.stop()
    finally:
        receiver.close()
    if not good:
        console.print("[red]not everything came to a good end[/]; the server's log:")
        console.print(stage.log.read_text("utf-8", "replace")[-8000:], markup=False)
    return 0 if good else 1


def _feed(stage: Stage, receiver: Receiver, console: Console, *, port: int) -> bool:
    brokers = os.environ.get(BROKERS)
    if brokers:
        inputs.ensure_topic(brokers)
    console.print("Starting the server on a copy of the example project ...")
    console.print(f"[green]ready[/] after {stage.start(port):.2f} s at {stage.url}\n")
    tag = secrets.token_hex(3)
    sent = [inputs.scheduled(), inputs.post_order(stage.url, f"A-{tag}")]
    sent.append(inputs.land_csv(stage.inbox, f"delivery-{tag}.csv"))
    if brokers:
        sent.append(inputs.produce_payment(brokers, f"P-{tag}", f"A-{tag}"))
    for one in sent:
        console.print(f"[bold]{one.door:9}[/] {one.what}")
    console.print()
    good = Watch(stage.url, sent, receiver, console).until_done()
    console.print(f"\nThe receiver accepted {len(receiver.events())} signed completions.")
    return good


def _serve_on(stage: Stage, receiver: Receiver, console: Console) -> None:
    """Keep serving until Ctrl-C, and tell of each completion that is received."""
    project = os.path.relpath(stage.folder)
    tidemill = os.path.relpath(Path(sys.executable).with_name("tidemill"))
    console.print(
        _NEXT.format(url=stage.url, project=project, tidemill=tidemill), markup=False, soft_wrap=True
    )
    told = len(receiver.events())
    try:
        while stage.is_running:
            events = receiver.events()
            for event in events[told:]:
                data = event["data"]
                failed = [
                    f"{task['task']}: {task['message']}" for task in (data["error"] or {}).get("tasks", ())
                ]
                line = " ".join([data["dag"], data["state"], *failed])
                console.print(line, markup=False, soft_wrap=True)
            told = len(events)
            time.sleep(0.2)
    except KeyboardInterrupt:
        console.print("\nStopping the server ...")
        return
    raise DemoFailed(f"the server ended by itself; see {stage.log}")


def _fresh(folder: Path) -> Path:
    """`folder`, emptied of what an earlier demo left."""
    found = find_note(folder)
    if found is not None and found.is_held:
        raise DemoFailed(f"a demo runs already, at {found.url}; end it with Ctrl-C first")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    return folder


_NEXT = """\

The server goes on at {url}; Ctrl-C ends it. In another terminal:

  # an order with a card that is declined: a run that fails, and says why
  curl {url}/webhooks/shop -H 'content-type: application/json' -d '{{"id": "A-1", "customer": "you", \
"card": "declined", "lines": [{{"sku": "TEA-1", "quantity": 1, "unit_cents": 450}}]}}'

  # a file that is wrong in its second line
  printf 'sku,quantity,unit_cents\\nTEA-1,many,450\\n' > {project}/inbox/wrong.csv

  {tidemill} runs list --project {project}
  {tidemill} runs watch --project {project}
  {tidemill} events list --project {project}
  {tidemill} dags show process_order --project {project}
  {tidemill} dags trigger user_analytics_pipeline --wait --project {project}
"""

if __name__ == "__main__":
    sys.exit(main())
