"""Many small attempts in one request to a warm worker: what is waiting when one is free goes out together.

Only attempts that may be made twice come here: when a worker dies, all that it held have failed. There is no asyncio
task, timer or claim per attempt; a request has them for all that it carries.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidemill.executors.remote.bundle import Bundle
from tidemill.executors.remote.cluster import Cluster, Submitted
from tidemill.executors.remote.outcomes import ClusterFailure, failure
from tidemill.executors.remote.pack_request import decode_pack, encode_pack
from tidemill.executors.remote.request import Item, Reply
from tidemill.executors.result import cancelled
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["Packed", "Packs"]

logger = logging.getLogger(__name__)

#: Requests that one worker has at once: the next one is there when it ends the first.
_DEPTH = 2
#: Attempts in one request.
DEFAULT_SIZE = 50


@dataclass(slots=True, eq=False)
class Packed:
    """One attempt that goes out with others."""

    attempt: Attempt
    task: bytes
    item: Item
    bundle: Bundle
    report: Callable[[Outcome], None]
    #: When it was handed to us, in the loop's time.
    since: float
    #: Its outcome has been reported, and whatever else is said of it is ignored.
    done: bool = False


class Packs:
    """The attempts that wait for a warm worker, and those that one has."""

    def __init__(self, cluster: Cluster, *, size: int, tell: Callable[[Attempt, Reply, float], None]) -> None:
        """`tell` passes on what a worker says beside an outcome."""
        self._cluster = cluster
        self._size = size
        self._tell = tell
        self._held: dict[tuple[str, int], Packed] = {}
        self._waiting: deque[Packed] = deque()
        #: Requests under way, by worker.
        self._lanes = [0] * cluster.lanes
        #: Bundles that a worker has been sent.
        self._sent: list[set[str]] = [set() for _ in self._lanes]
        self._under_way: dict[asyncio.Task[None], Submitted | None] = {}
        self._planned = False
        self._paused = False
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def add(self, packed: Packed) -> None:
        """Send it with the next ones."""
        self._held[packed.attempt.run_id, packed.attempt.index] = packed
        self._waiting.append(packed)
        self._plan()

    def cancel(self, run_id: str, index: int) -> bool:
        """True when the attempt was here. What a worker has begun goes on; its answer is ignored."""
        packed = self._held.get((run_id, index))
        if packed is None:
            return False
        # Reported in a turn of its own, as everywhere.
        self._loop.call_soon(self._settle, packed, cancelled(packed.attempt))
        return True

    def pause(self) -> None:
        """Nothing can be sent, and nothing that was will be answered."""
        self._paused = True
        for submitted in self._under_way.values():
            if submitted is not None:
                submitted.stop()
        for task in self._under_way:
            task.cancel()

    def resume(self) -> None:
        """There is a cluster again."""
        if self._paused:
            self._paused = False
            self._plan()

    async def close(self) -> None:
        """Forget all of them."""
        self._closed = True
        self._held.clear()
        self._waiting.clear()
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._planned = False
        while self._waiting and not self._paused:
            lane = min(range(len(self._lanes)), key=self._lanes.__getitem__)
            if self._lanes[lane] >= _DEPTH:
                return
            # Shared out, so that one worker does not sit idle beside a full request.
            share = min(self._size, -(-len(self._waiting) // len(self._lanes)))
            pack: list[Packed] = []
            while self._waiting and len(pack) < share:
                packed = self._waiting.popleft()
                if not packed.done:
                    pack.append(packed)
            if pack:
                self._lanes[lane] += 1
                task = self._loop.create_task(self._carry(lane, pack))
                self._under_way[task] = None
                task.add_done_callback(self._carried)

    def _carried(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._plan()

    async def _carry(self, lane: int, pack: Sequence[Packed]) -> None:
        try:
            missing = await self._ask(lane, pack)
            if missing:  # the worker is another one than the one that was sent the code
                self._sent[lane].clear()
                missing = await self._ask(lane, missing)
            for packed in missing:
                self._fail(packed, "ContractMismatch", "the worker asks for code that it was sent")
        except ClusterFailure as error:
            for packed in pack:
                self._fail(packed, error.kind, str(error), permanent=error.permanent)
        except asyncio.CancelledError:
            for packed in pack:
                self._fail(packed, "ClusterLost", "the cluster went away, and the attempt with it")
        except Exception as error:  # ours or the engine's: the attempts must end in any case
            logger.exception("executor.failed", extra={"executor": self._cluster.name, "error": str(error)})
            for packed in pack:
                self._fail(packed, "ExecutorFailed", f"{type(error).__name__}: {error}")
        finally:
            self._lanes[lane] -= 1

    async def _ask(self, lane: int, pack: Sequence[Packed]) -> list[Packed]:
        """Those whose code the worker does not have."""
        groups: dict[bytes, list[Packed]] = {}
        for packed in pack:
            groups.setdefault(packed.task, []).append(packed)
        sent = self._sent[lane]
        bundles = {group[0].bundle.digest: group[0].bundle for group in groups.values()}
        unsent = [bundle for digest, bundle in bundles.items() if digest not in sent]
        request = encode_pack({task: [one.item for one in group] for task, group in groups.items()}, unsent)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        submitted = self._under_way[task] = self._cluster.submit_pack(request, lane)
        try:
            body = await submitted.reply()
        except ClusterFailure:
            sent.clear()
            raise
        sent.update(bundles)
        ordered = [packed for group in groups.values() for packed in group]
        missing = []
        for packed, reply in zip(ordered, decode_pack([one.attempt for one in ordered], body), strict=True):
            if reply is None:
                missing.append(packed)
            elif not packed.done:
                self._tell(packed.attempt, reply, packed.since)
                assert reply.outcome is not None  # noqa: S101 - for the type checker
                self._settle(packed, reply.outcome)
        return missing

    def _fail(self, packed: Packed, kind: str, message: str, *, permanent: bool = False) -> None:
        self._settle(packed, failure(packed.attempt, kind, message, permanent=permanent))

    def _settle(self, packed: Packed, outcome: Outcome) -> None:
        if packed.done or self._closed:
            return
        packed.done = True
        key = (packed.attempt.run_id, packed.attempt.index)
        if self._held.get(key) is packed:  # a run that came back begins its attempts again
            del self._held[key]
        packed.report(outcome)
