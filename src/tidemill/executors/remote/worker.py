"""What runs on a worker: bytes of a request in, bytes of a reply out, whichever engine carries them.

Nothing is decided here, and nothing raised: what a task does, or what keeps it from being called, is in the reply.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError, SettingsError, TaskFailed
from tidemill.events import json_format
from tidemill.executors.remote.capture import Lines, gather
from tidemill.executors.remote.claims import ClaimFailure, Claims
from tidemill.executors.remote.definitions import Definitions, MissingBundle
from tidemill.executors.remote.outcomes import failure
from tidemill.executors.remote.pack_request import PackReplies, refuse_pack
from tidemill.executors.remote.request import CONTRACT, Item, Reply, encode_missing, encode_reply
from tidemill.executors.result import failed, succeeded, too_large
from tidemill.runs.arguments import make_arguments
from tidemill.runs.attempts import Attempt, Outcome
from tidemill.runs.claims import kept_whole

__all__ = ["Surroundings", "perform", "perform_pack"]

_definitions = Definitions()
#: Variables of the process are set by one attempt at a time.
_environment = threading.Lock()

_Made = tuple[Outcome, Reply]


class Surroundings:
    """What an attempt is called in: nothing, on the workers of a cluster."""

    #: Told of the attempt's heartbeats.
    beat: Callable[[], None] | None = None

    def call(self, function: Callable[[], Any]) -> Any:
        """What `function` returns."""
        return function()


_NOTHING = Surroundings()


def perform(
    request: bytes,
    tell_start: Callable[[], object] | None = None,
    *,
    surroundings: Surroundings = _NOTHING,
) -> bytes:
    """Make one attempt; `tell_start` is called when it begins."""
    if tell_start is not None:
        tell_start()
    line, _, bundle = request.partition(b"\n")
    head: dict[str, Any] = orjson.loads(line)
    mismatch = _mismatch(head)
    if mismatch is not None:
        # Which attempt it is, the node knows.
        unknown = failure(("", 0, 0), "ContractMismatch", mismatch, permanent=True)
        return encode_reply(unknown, Reply(worker=_here()))
    task, item = head["task"], head["item"]
    try:
        dag = _definitions.find(task, bundle)
        made = _make(_prepare(task, item, dag), surroundings)
    except MissingBundle:
        return encode_missing()
    except DefinitionError as error:
        made = _unloadable(task, item, error)
    return encode_reply(*_signed(made))


def perform_pack(request: bytes) -> bytes:
    """Make small attempts, one after the other; coroutines side by side. None of them fails another one."""
    head: dict[str, Any] = orjson.loads(request)
    mismatch = _mismatch(head)
    if mismatch is not None:
        return refuse_pack("ContractMismatch", mismatch)
    groups: Sequence[tuple[Mapping[str, Any], Sequence[Item]]] = head["groups"]
    replies = PackReplies(sum(len(items) for _, items in groups))
    coroutines: list[tuple[int, _Prepared]] = []
    places = itertools.count()
    for task, items in groups:
        dag = _find(task, head["bundles"].get(task["bundle"], ""))
        for item, place in zip(items, places, strict=False):
            if dag is None:
                replies.set_missing(place)
            elif isinstance(dag, DefinitionError):
                replies.set(place, *_unloadable(task, item, dag))
            else:
                prepared = _prepare(task, item, dag)
                if isinstance(prepared, _Prepared) and prepared.attempt.node.is_coroutine:
                    coroutines.append((place, prepared))
                else:
                    replies.set(place, *_make(prepared))
    if coroutines:
        asyncio.run(_side_by_side(coroutines, replies))
    return replies.encode(_here())


def _find(task: Mapping[str, Any], bundle: str) -> Dag | DefinitionError | None:
    try:
        return _definitions.find(task, bundle.encode())
    except DefinitionError as error:
        return error
    except MissingBundle:
        return None


def _make(prepared: _Prepared | Outcome, surroundings: Surroundings = _NOTHING) -> _Made:
    if isinstance(prepared, Outcome):
        return prepared, Reply()
    attempt = prepared.attempt
    if surroundings.beat is not None and (name := attempt.node.context_parameter) is not None:
        attempt.kwargs = {**attempt.kwargs, name: replace(attempt.kwargs[name], beat=surroundings.beat)}
    if attempt.node.is_coroutine:
        return prepared.run(lambda call: surroundings.call(lambda: asyncio.run(_awaited(call))))
    return prepared.run(surroundings.call)


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


async def _side_by_side(coroutines: Sequence[tuple[int, _Prepared]], replies: PackReplies) -> None:
    async def one(place: int, prepared: _Prepared) -> None:
        replies.set(place, *await prepared.run_async())

    await asyncio.gather(*(one(place, prepared) for place, prepared in coroutines))


class _Prepared:
    """An attempt with its arguments, ready to be called."""

    __slots__ = ("_claims", "_task", "attempt")

    def __init__(self, attempt: Attempt, task: Mapping[str, Any], claims: Claims | None) -> None:
        self.attempt = attempt
        self._task = task
        self._claims = claims

    def run(self, invoke: Callable[[Callable[[], Any]], Any]) -> _Made:
        variables = self._task.get("env_vars")
        if variables:
            with _variables(variables):
                return self._run(invoke)
        return self._run(invoke)

    def _run(self, invoke: Callable[[Callable[[], Any]], Any]) -> _Made:
        with gather() as lines:
            begun, cpu = time.perf_counter(), time.thread_time()
            try:
                outcome = self._succeeded(invoke(self._call))
            except BaseException as error:  # also SystemExit: a task must not end its worker
                outcome = failed(self.attempt, error)
            seconds, cpu = time.perf_counter() - begun, time.thread_time() - cpu
        return outcome, _reply(lines, seconds, cpu)

    async def run_async(self) -> _Made:
        with gather() as lines:
            begun = time.perf_counter()
            try:
                outcome = self._succeeded(await self._call())
            except BaseException as error:
                outcome = failed(self.attempt, error)
            seconds = time.perf_counter() - begun
        return outcome, _reply(lines, seconds, 0.0)

    def _call(self) -> Any:
        return self.attempt.node.function(*self.attempt.args, **self.attempt.kwargs)

    def _succeeded(self, result: Any) -> Outcome:
        if self._claims is None:
            return succeeded(self.attempt, result, self._task["max_result_bytes"])
        outcome = succeeded(self.attempt, result, 1 << 40)
        if len(outcome.result) > self._task["claim_check_bytes"]:
            attempt = self.attempt
            if attempt.node.index in kept_whole(attempt.dag):
                most = self._task["max_result_bytes"]
                size = len(outcome.result)
                return outcome if size <= most else too_large(attempt, size, most)
            try:
                outcome.result = self._claims.put(
                    attempt.run_id, attempt.index, attempt.number, outcome.result
                )
            except ClaimFailure as error:
                return failure(attempt, error.kind, str(error), permanent=error.permanent)
        return outcome


def _prepare(task: Mapping[str, Any], item: Item, dag: Dag) -> _Prepared | Outcome:
    """The attempt ready to be called, or its outcome when it cannot be."""
    run_id, number, text, values, event, index, task_id, own = item
    node = dag.tasks[task["index"]]
    attempt = Attempt(run_id, dag, node, number, (), {}, index=index, task_id=task_id)
    try:
        claims = _claims(task["claim_check_url"])
        results = {int(index): _value(value, claims) for index, value in values.items()}
        attempt.args, attempt.kwargs = make_arguments(
            run_id,
            dag,
            node=node,
            number=number,
            results=results,
            parameters=dag.parameters.load(text.encode()),
            event=None if event is None else json_format.from_json(event),
            task_id=task_id,
            item=own,
        )
    except ClaimFailure as error:
        return failure(attempt, error.kind, str(error), permanent=error.permanent)
    except TaskFailed as error:
        return failure(attempt, error.error_type, error.message, permanent=True)
    except Exception as error:  # types of the user's own parameters may raise anything
        return failure(attempt, type(error).__name__, str(error), permanent=True)
    return _Prepared(attempt, task, claims)


def _mismatch(head: Mapping[str, Any]) -> str | None:
    theirs = head.get("contract")
    if theirs == CONTRACT:
        return None
    return (
        f"the worker speaks version {CONTRACT} of the contract, the node version {theirs}; "
        "install the same Tidemill on both"
    )


def _unloadable(task: Mapping[str, Any], item: Item, error: DefinitionError) -> _Made:
    message = f"the worker cannot load this version: {error}"
    return failure((item[0], item[5], item[1]), "DefinitionError", message, permanent=True), Reply()


def _signed(made: _Made) -> _Made:
    made[1].worker = _here()
    return made


def _reply(lines: Lines, seconds: float, cpu_seconds: float) -> Reply:
    return Reply(lines.kept, lines.dropped, round(seconds, 6), round(cpu_seconds, 6))


def _value(value: Any, claims: Claims | None) -> Any:
    if claims is None or type(value) is not dict or "$claim" not in value:
        return value
    reference = claims.read(orjson.dumps(value))
    return value if reference is None else orjson.loads(claims.get(reference))


def _claims(url: str | None) -> Claims | None:
    if url is None:
        return None
    try:
        return _open_claims(url)
    except SettingsError as error:
        raise ClaimFailure("ClaimStoreMissing", f"on the worker: {error}") from error


@lru_cache(maxsize=4)
def _open_claims(url: str) -> Claims:
    return Claims(url)


@contextmanager
def _variables(variables: Mapping[str, str] | None) -> Iterator[None]:
    if not variables:
        yield
        return
    with _environment:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@lru_cache(maxsize=1)
def _here() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
