"""The parts of the process executor that need no process."""

from __future__ import annotations

import signal

import pytest

from tidemill.executors.process.environment import allowed_environment
from tidemill.executors.process.exits import Exit, explain_exit
from tidemill.executors.process.frames import BrokenFrame, Frames, Kind, make_frame

_MIB = 1 << 20


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("", set()),
        ("PATH", {"PATH"}),
        (" PATH , LC_* ", {"PATH", "LC_ALL", "LC_TIME"}),
        ("*", {"PATH", "LC_ALL", "LC_TIME", "SECRET"}),
        ("TIDEMILL_API_TOKEN, TIDEMILL_*", set()),
        ("path", set()),
    ],
)
def test_environment_is_what_the_list_lets_through(names: str, expected: set[str]) -> None:
    given = dict.fromkeys(("PATH", "LC_ALL", "LC_TIME", "SECRET", "TIDEMILL_API_TOKEN"), "x")

    assert set(allowed_environment(names, given)) == expected


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (Exit(3 << 8), "WorkerLost", "exit code 3"),
        (Exit(0), "WorkerLost", "exit code 0"),
        (Exit(None), "WorkerLost", "not known"),
        (Exit(signal.SIGSEGV), "WorkerLost", "signal 11 (SIGSEGV)"),
        (Exit(signal.SIGKILL), "WorkerLost", "which nothing here sent"),
        (Exit(signal.SIGKILL, 99 * _MIB), "MemoryExceeded", "at 99 MiB of memory; it may have 100 MiB"),
        (Exit(signal.SIGABRT, 99 * _MIB), "MemoryExceeded", "SIGABRT"),
        (Exit(signal.SIGABRT, 50 * _MIB), "WorkerLost", "SIGABRT"),
        (Exit(signal.SIGXCPU), "CpuTimeExceeded", "more than the 5 s of processor time"),
        (Exit(64), "WorkerLost", "signal 64 (SIGRTMAX)"),
    ],
)
def test_end_of_a_process_is_a_sentence(end: Exit, kind: str, words: str) -> None:
    found, message = explain_exit(end, memory=100 * _MIB, cpu_seconds=5)

    assert found == kind
    assert words in message


@pytest.fixture(params=[1, 3, 7, 1000])
def pieces(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_frames_come_out_whole_however_they_come_in(pieces: int) -> None:
    frames = Frames(largest=100)
    stream = make_frame(Kind.READY) + make_frame(Kind.REPLY, b"abc", b"def") + make_frame(Kind.BEAT)

    found = [one for k in range(0, len(stream), pieces) for one in frames.feed(stream[k : k + pieces])]

    assert found == [(Kind.READY, b""), (Kind.REPLY, b"abcdef"), (Kind.BEAT, b"")]


@pytest.mark.parametrize("stream", [b"\x09\0\0\0\0", b"\x03\0\0\0\x65"], ids=["kind", "size"])
def test_frame_that_cannot_be_is_refused(stream: bytes) -> None:
    with pytest.raises(BrokenFrame):
        list(Frames(largest=100).feed(stream))
