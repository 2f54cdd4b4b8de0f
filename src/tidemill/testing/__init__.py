"""The kit for tests of workflows: a harness under virtual time, stubs, faults, snapshots (`docs/reference/testing.md`).

Names are imported when they are asked for: the pytest plug-in lies in this package and is loaded in every pytest run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.testing.arrivals import Answer
    from tidemill.testing.blocking import BlockingHarness
    from tidemill.testing.chaos import Chaos
    from tidemill.testing.clock import ManualClock
    from tidemill.testing.contexts import make_context, task_function
    from tidemill.testing.faults import CrashAt, CrashAtTask, FailCommits, FillDisk, LoseAnswers
    from tidemill.testing.harness import Harness, HarnessError, MakeHarness
    from tidemill.testing.receivers import SECRET, Delivered
    from tidemill.testing.speed import Speed, compare_speed
    from tidemill.testing.stubs import Call, Stub
    from tidemill.testing.views import RunView

__all__ = [
    "SECRET",
    "Answer",
    "BlockingHarness",
    "Call",
    "Chaos",
    "CrashAt",
    "CrashAtTask",
    "Delivered",
    "FailCommits",
    "FillDisk",
    "Harness",
    "HarnessError",
    "LoseAnswers",
    "MakeHarness",
    "ManualClock",
    "RunView",
    "Speed",
    "Stub",
    "compare_speed",
    "make_context",
    "task_function",
]

_MODULES = {
    "SECRET": "receivers",
    "Answer": "arrivals",
    "BlockingHarness": "blocking",
    "Call": "stubs",
    "Chaos": "chaos",
    "CrashAt": "faults",
    "CrashAtTask": "faults",
    "Delivered": "receivers",
    "FailCommits": "faults",
    "FillDisk": "faults",
    "Harness": "harness",
    "HarnessError": "world",
    "LoseAnswers": "faults",
    "MakeHarness": "harness",
    "ManualClock": "clock",
    "RunView": "views",
    "Speed": "speed",
    "Stub": "stubs",
    "compare_speed": "speed",
    "make_context": "contexts",
    "task_function": "contexts",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
