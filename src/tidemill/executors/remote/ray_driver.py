"""The process that is part of a Ray cluster for a service; nothing else here imports Ray.

Ray ends the process that it lives in when it finds the cluster changed under it (the head came back as another one),
and its calls may block without end. This process holds no state that matters: the service sees it end, and starts
another one.

`python -m tidemill.executors.remote.ray_driver ADDRESS SOCKET` joins the cluster, prints one line of JSON (`ready`, or
the `error`), serves `ray_frames` at the socket, and ends when its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

from tidemill.executors.remote.ray_session import Session
from tidemill.executors.remote.ray_starts import Starts

__all__ = ["main"]

_NAMESPACE = "tidemill"
#: How often the head is asked whether it is still the one that we joined, in seconds.
_BEAT_SECONDS = 5.0
#: Longest time to leave the cluster.
_LEAVE_SECONDS = 5.0


def main() -> None:
    """Join, serve, leave."""
    address, path = sys.argv[1:3]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # While the head is away, what its workers do goes on. Ray would end this process after a minute.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "31536000")
    # What Ray will do by default: a task without a GPU does not see one, and nothing warns about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A lost connection must not end in a cluster of our own on this machine.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray

        ray.init(address=address, namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except BaseException as error:  # RuntimeError (versions), ConnectionError, Ray's own, SystemExit
        _tell(error=" ".join(str(error).split()) or type(error).__name__)
        sys.stdout.flush()
        os._exit(1)
    # Signals are for the service, which ends this process when it has no attempts left.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(ray, path))
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(_LEAVE_SECONDS)
    os._exit(0)  # Ray's own way out can wait for a cluster that is gone


async def _serve(ray: Any, path: str) -> None:
    loop = asyncio.get_running_loop()
    starts = Starts(ray)
    sessions: set[Session] = set()
    server = await loop.create_unix_server(lambda: Session(ray, starts, sessions), path)
    _tell(ready=True)
    beat = loop.create_task(_beat(ray, sessions))
    async with server:
        ended = loop.create_future()
        threading.Thread(target=_wait_for_end, args=(loop, ended), daemon=True).start()
        await asyncio.wait([ended, beat], return_when=asyncio.FIRST_COMPLETED)
    for session in list(sessions):
        session.end()
    if beat.done():
        os._exit(3)  # the connection cannot be mended
    beat.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beat


def _wait_for_end(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    sys.stdin.buffer.read()
    with contextlib.suppress(RuntimeError):  # the loop has ended first
        loop.call_soon_threadsafe(ended.cancel)


async def _beat(ray: Any, sessions: set[Session]) -> None:
    """Return when the connection is lost for good (Ray ends the process itself where it finds that out)."""
    while True:
        await asyncio.sleep(_BEAT_SECONDS)
        if any(session.is_waiting for session in sessions):
            try:
                await asyncio.to_thread(ray.nodes)
            except Exception:
                return


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
