"""What runs on a worker: bytes of a request in, bytes of a reply out, whichever engine carries them.

Nothing is decided here, and nothing raised: what a task does, or what keeps it from being called, is in the reply.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import orjson

from tidemill.errors import DefinitionError, SettingsError, TaskFailed
from tidemill.events import json_format
from tidemill.executors.remote.capture import Lines, gather
from tidemill.executors.remote.claims import ClaimFailure, Claims
from tidemill.executors.remote.definitions import Definitions, MissingBundle
from tidemill.executors.remote.outcomes import failure
from tidemill.executors.remote.request import CONTRACT, Reply, encode_missing, encode_reply
from tidemill.executors.result import failed, succeeded
from tidemill.runs.arguments import make_arguments
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["perform", "perform_pack"]

_definitions = Definitions()
#: Variables of the process are set by one attempt at a time.
_environment = threading.Lock()


def perform(request: bytes) -> bytes:
    """Make one attempt."""
    prepared = _prepare(request)
    if isinstance(prepared, bytes):
        return prepared
    if prepared.attempt.node.is_coroutine:
        return prepared.run(lambda call: asyncio.run(_awaited(call)))
    return prepared.run(lambda call: call())


def perform_pack(requests: Sequence[bytes]) -> list[bytes]:
    """Make small attempts, one after the other; coroutines side by side. None of them fails another one."""
    replies: list[bytes | None] = [None] * len(requests)
    coroutines: list[tuple[int, _Prepared]] = []
    for place, request in enumerate(requests):
        prepared = _prepare(request)
        if isinstance(prepared, bytes):
            replies[place] = prepared
        elif prepared.attempt.node.is_coroutine:
            coroutines.append((place, prepared))
        else:
            replies[place] = prepared.run(lambda call: call())
    if coroutines:
        asyncio.run(_side_by_side(coroutines, replies))
    return [reply or b"" for reply in replies]


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


async def _side_by_side(coroutines: Sequence[tuple[int, _Prepared]], replies: list[bytes | None]) -> None:
    async def one(place: int, prepared: _Prepared) -> None:
        replies[place] = await prepared.run_async()

    await asyncio.gather(*(one(place, prepared) for place, prepared in coroutines))


class _Prepared:
    """An attempt with its arguments, ready to be called."""

    def __init__(self, attempt: Attempt, head: Mapping[str, Any], claims: Claims | None) -> None:
        self.attempt = attempt
        self._head = head
        self._claims = claims

    def run(self, invoke: Callable[[Callable[[], Any]], Any]) -> bytes:
        with gather() as lines, _variables(self._head.get("env_vars")):
            begun = time.perf_counter()
            try:
                outcome = self._succeeded(invoke(self._call))
            except BaseException as error:  # also SystemExit: a task must not end its worker
                outcome = failed(self.attempt, error)
            seconds = time.perf_counter() - begun
        return _reply(outcome, lines, seconds)

    async def run_async(self) -> bytes:
        with gather() as lines:
            begun = time.perf_counter()
            try:
                outcome = self._succeeded(await self._call())
            except BaseException as error:
                outcome = failed(self.attempt, error)
            seconds = time.perf_counter() - begun
        return _reply(outcome, lines, seconds)

    def _call(self) -> Any:
        return self.attempt.node.function(*self.attempt.args, **self.attempt.kwargs)

    def _succeeded(self, result: Any) -> Outcome:
        if self._claims is None:
            return succeeded(self.attempt, result, self._head["max_result_bytes"])
        outcome = succeeded(self.attempt, result, 1 << 40)
        if len(outcome.result) > self._head["claim_check_bytes"]:
            attempt = self.attempt
            try:
                outcome.result = self._claims.put(
                    attempt.run_id, attempt.node.index, attempt.number, outcome.result
                )
            except ClaimFailure as error:
                return failure(attempt, error.kind, str(error), permanent=error.permanent)
        return outcome


def _prepare(request: bytes) -> _Prepared | bytes:
    """The attempt ready to be called, or the reply when it cannot be."""
    line, _, bundle = request.partition(b"\n")
    head: dict[str, Any] = orjson.loads(line)
    if head.get("contract") != CONTRACT:
        message = (
            f"the worker speaks version {CONTRACT} of the contract, the node version {head.get('contract')}"
        )
        return _refused(head, "ContractMismatch", f"{message}; install the same Tidemill on both")
    try:
        dag = _definitions.find(head, bundle)
    except MissingBundle:
        return encode_missing()
    except DefinitionError as error:
        return _refused(head, "DefinitionError", f"the worker cannot load this version: {error}")
    node = dag.tasks[head["index"]]
    attempt = Attempt(head["run"], dag, node, head["attempt"], (), {})
    try:
        claims = _claims(head["claim_check_url"])
        results = {int(index): _value(value, claims) for index, value in head["results"].items()}
        parameters = dag.parameters.load(head["parameters"].encode())
        event = None if head["event"] is None else json_format.from_json(head["event"])
        attempt.args, attempt.kwargs = make_arguments(
            attempt.run_id,
            dag,
            node=node,
            number=attempt.number,
            results=results,
            parameters=parameters,
            event=event,
        )
    except ClaimFailure as error:
        return _reply(failure(attempt, error.kind, str(error), permanent=error.permanent), None, 0.0)
    except TaskFailed as error:
        return _reply(failure(attempt, error.error_type, error.message, permanent=True), None, 0.0)
    except Exception as error:  # types of the user's own parameters may raise anything
        return _reply(failure(attempt, type(error).__name__, str(error), permanent=True), None, 0.0)
    return _Prepared(attempt, head, claims)


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


def _refused(head: Mapping[str, Any], kind: str, message: str) -> bytes:
    outcome = failure((head["run"], head["index"], head["attempt"]), kind, message, permanent=True)
    return _reply(outcome, None, 0.0)


def _reply(outcome: Outcome, lines: Lines | None, seconds: float) -> bytes:
    reply = Reply((), 0, round(seconds, 6), _here())
    if lines is not None:
        reply.lines, reply.dropped = lines.kept, lines.dropped
    return encode_reply(outcome, reply)


@lru_cache(maxsize=1)
def _here() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
