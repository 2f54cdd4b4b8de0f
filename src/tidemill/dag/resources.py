"""What a task asks of the machine that runs it: as written, as checked, and as an engine reads it.

On this machine amounts are reserved before a task starts, whichever executor runs it; that a task keeps to its memory
is enforced where it has a process of its own. What an executor cannot do is refused at build instead of ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

__all__ = [
    "EXECUTORS",
    "HERE",
    "LOCAL_EXECUTORS",
    "NO_RESOURCES",
    "Environment",
    "ResourceOptions",
    "Resources",
    "parse_bytes",
]

#: Executors that call the function in this process.
LOCAL_EXECUTORS = ("loop", "thread")
#: Executors that call the function on this machine.
HERE = (*LOCAL_EXECUTORS, "process")
#: Every executor that a task can name.
EXECUTORS = (*HERE, "ray", "dask")

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]i?)?B?", re.ASCII)
_PREFIXES = "KMGTP"
#: Names that engines give a meaning of their own.
_RESERVED = frozenset({"cpu", "gpu", "memory", "object_store_memory"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Environment(TypedDict, total=False):
    """What surrounds a task on its worker, in Ray's words."""

    #: Environment variables.
    env_vars: Mapping[str, str]
    #: Requirements that are installed before the task is called (Ray only).
    pip: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The request of one task; hashable, so that an engine prepares for equal requests once."""

    #: Processors; None leaves it to the engine (one).
    cpu: float | None = None
    #: Bytes.
    memory: int | None = None
    #: Bytes of disk.
    storage: int | None = None
    gpu: float | None = None
    #: Resources that the cluster's nodes name themselves, with amounts.
    custom: tuple[tuple[str, float], ...] = ()
    env_vars: tuple[tuple[str, str], ...] = ()
    pip: tuple[str, ...] = ()
    #: Calling the task twice does no harm: it may share its worker's fate with others.
    idempotent: bool = False

    @property
    def is_plain(self) -> bool:
        """True when any worker will do."""
        return (
            self.cpu is None
            and self.memory is None
            and self.storage is None
            and self.gpu is None
            and not (self.custom or self.env_vars or self.pip)
        )


NO_RESOURCES = Resources()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOptions:
    """The request as people write it; None where nothing was written."""

    cpu: Any = None
    memory: Any = None
    storage: Any = None
    gpu: Any = None
    resources: Any = None
    environment: Any = None
    idempotent: Any = None

    def made(self) -> Resources:
        """The request; only for options without problems."""
        environment: Mapping[str, Any] = self.environment or {}
        written = (
            self.cpu,
            self.memory,
            self.storage,
            self.gpu,
            self.resources,
            self.environment,
            self.idempotent,
        )
        if all(one is None for one in written):
            return NO_RESOURCES
        return Resources(
            cpu=None if self.cpu is None else float(self.cpu),
            memory=None if self.memory is None else parse_bytes(self.memory),
            storage=None if self.storage is None else parse_bytes(self.storage),
            gpu=None if self.gpu is None else float(self.gpu),
            custom=tuple(sorted((name, float(amount)) for name, amount in (self.resources or {}).items())),
            env_vars=tuple(sorted(environment.get("env_vars", {}).items())),
            pip=tuple(environment.get("pip", ())),
            idempotent=bool(self.idempotent),
        )

    def problems(self, executor: str) -> Iterator[str]:
        """Everything that is wrong with this request, made of `executor`."""
        if executor in LOCAL_EXECUTORS and self.environment is not None:
            yield (
                f"environment has no meaning on executor {executor!r}, which shares this process; "
                'give executor="process", "ray" or "dask"'
            )
        yield from _amount_problems("cpu", self.cpu)
        yield from _amount_problems("gpu", self.gpu)
        if _is_number(self.gpu) and self.gpu > 1 and self.gpu != int(self.gpu):
            yield f"gpu above 1 must be a whole number, not {self.gpu}"
        if self.memory is not None and parse_bytes(self.memory) is None:
            yield f'memory must be bytes above 0 or a text such as "2GiB", not {_shorten(self.memory)}'
        if self.storage is not None and parse_bytes(self.storage) is None:
            yield f'storage must be bytes above 0 or a text such as "2GiB", not {_shorten(self.storage)}'
        yield from _custom_problems(self.resources)
        yield from _environment_problems(self.environment, executor)
        if self.idempotent is not None and not isinstance(self.idempotent, bool):
            yield f"idempotent must be True or False, not {_shorten(self.idempotent)}"


def parse_bytes(value: object) -> int | None:
    """Bytes of a number or of a text with a unit (`2GiB`, `500MB`); None when it is neither, or not above 0."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value > 0 else None
    if not isinstance(value, str) or (found := _SIZE.fullmatch(value.strip())) is None:
        return None
    number, unit = found.groups()
    factor = 1
    if unit:
        base = 1024 if unit.endswith("i") else 1000
        factor = int(base ** (_PREFIXES.index(unit[0]) + 1))
    return int(float(number) * factor) or None


def _amount_problems(name: str, value: object) -> Iterator[str]:
    if value is not None and (not _is_number(value) or not 0 <= value < math.inf):  # type: ignore[operator]
        yield f"{name} must be a number from 0, not {_shorten(value)}"


def _custom_problems(value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f'resources must be amounts by name ({{"name": 1}}), not {_shorten(value)}'
        return
    for name, amount in value.items():
        if not isinstance(name, str) or not name:
            yield f"resources: a name must be a text, not {_shorten(name)}"
        elif name.lower() in _RESERVED:
            yield f"resources: {name} is no name of your own; use cpu=, gpu= or memory="
        elif not _is_number(amount) or not 0 < amount < math.inf:
            yield f"resources: the amount of {name} must be a number above 0, not {_shorten(amount)}"


def _environment_problems(value: object, executor: str) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f'environment must be a dict with "env_vars" or "pip", not {_shorten(value)}'
        return
    for name in value:
        if name not in ("env_vars", "pip"):
            yield f'environment: there is no {_shorten(name)}; it has "env_vars" and "pip"'
    variables = value.get("env_vars", {})
    if not isinstance(variables, Mapping):
        yield f"environment: env_vars must be texts by name, not {_shorten(variables)}"
    else:
        for name, text in variables.items():
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
                yield f"environment: {_shorten(name)} is no name of a variable"
            elif not isinstance(text, str) or "\0" in text:
                yield f"environment: {name} must be a text, not {_shorten(text)}"
    pip = value.get("pip", [])
    if not isinstance(pip, list | tuple) or not all(isinstance(one, str) and one for one in pip):
        yield "environment: pip must be a list of requirements"
    elif pip and executor == "dask":
        yield 'environment: pip works with executor="ray" only; install packages on the Dask workers'
    elif pip and executor == "process":
        yield 'environment: pip works with executor="ray" only; install packages beside Tidemill'


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
