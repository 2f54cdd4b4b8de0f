"""A network of its own whose addresses can be cut off one by one, for tests of what happens then.

A network namespace behind a veth pair: a server started in it is reached from here at any of its addresses. A cut drops
every packet to and from one address, silently and in both directions, as a broken switch does: nobody is told, what was
under way hangs, and goes on if the cut is mended in time. Whoever connects by another address notices nothing. The
packet filter lives in the namespace; the machine's own is left alone.

Needs root, iproute2, nftables and nsenter (util-linux). All of this blocks for milliseconds.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tidemill.errors import TidemillError

__all__ = ["CuttableNetwork", "NetworkError", "NetworkRefusedError"]

_PROGRAMS = ("ip", "nft", "nsenter")
#: What the kernel answers to root where containers are not given networks of their own.
_REFUSALS = (
    "not permitted",
    "not supported",
    "Permission denied",
    "Read-only file system",
    "Unknown device type",
    "Function not implemented",
)
#: Set aside for tests of networks (RFC 2544): nobody's own addresses are among them.
_PREFIX = "198.18"
_FILTER = """
table ip tidemill {
    set cut { type ipv4_addr; }
    chain incoming { type filter hook input priority 0; ip daddr @cut drop; }
    chain outgoing { type filter hook output priority 0; ip saddr @cut drop; }
}
"""


class NetworkError(TidemillError):
    """There can be no network of the test's own: the message says what is missing, and whoever runs it can add it."""


class NetworkRefusedError(NetworkError):
    """The kernel of this machine permits none; the message is its own."""


class CuttableNetwork:
    """`size` addresses in a namespace; a context manager that makes and removes it."""

    def __init__(self, size: int = 2) -> None:
        """Nothing is made before the `with` block."""
        name = uuid.uuid4().hex[:8]
        self._namespace = f"tidemill-{name}"
        self._here, self._there = f"tm{name}a", f"tm{name}b"
        third, block = random.randrange(256), random.randrange(16) * 16  # noqa: S311 - any will do
        #: The addresses in it, and the network that they and ours are in.
        self.addresses = tuple(f"{_PREFIX}.{third}.{block + 2 + number}" for number in range(size))
        self.network = f"{_PREFIX}.{third}.{block}/28"
        self._our_address = f"{_PREFIX}.{third}.{block + 1}/28"

    def command(self, command: Sequence[str], *, uid: int | None = None, gid: int | None = None) -> list[str]:
        """A command line that runs `command` in the network, as somebody else where that is given."""
        who = [] if uid is None else ["--setuid", str(uid), "--setgid", str(gid if gid is not None else uid)]
        return ["nsenter", f"--net=/run/netns/{self._namespace}", *who, *command]

    def cut(self, address: str) -> None:
        """From here on packets to and from `address` vanish."""
        self._inside("nft", "add", "element", "ip", "tidemill", "cut", f"{{ {address} }}")

    def mend(self, address: str) -> None:
        """Packets to and from `address` pass again."""
        self._inside("nft", "delete", "element", "ip", "tidemill", "cut", f"{{ {address} }}")

    def __enter__(self) -> Self:
        _require_programs()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        _run("ip", "netns", "add", self._namespace)
        pair = ("type", "veth", "peer", "name", self._there, "netns", self._namespace)
        _run("ip", "link", "add", self._here, *pair)
        _run("ip", "address", "add", self._our_address, "dev", self._here)
        _run("ip", "link", "set", self._here, "up")
        self._inside("ip", "link", "set", "lo", "up")
        for address in self.addresses:
            self._inside("ip", "address", "add", f"{address}/28", "dev", self._there)
        self._inside("ip", "link", "set", self._there, "up")
        self._inside("nft", "-f", "-", given=_FILTER)

    def _remove(self) -> None:
        """Both, as far as they came: what runs in a namespace keeps it, and its end of the pair, alive."""
        for rest in (("link", "delete", self._here), ("netns", "delete", self._namespace)):
            subprocess.run(["ip", *rest], check=False, capture_output=True)  # noqa: S603, S607 - our own

    def _inside(self, *command: str, given: str = "") -> None:
        _run(*self.command(command), given=given)


def _require_programs() -> None:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise NetworkError(f"no {', '.join(missing)} on the PATH; install iproute2, nftables and util-linux")
    if os.geteuid() != 0:
        raise NetworkError("only root can make a network namespace")


def _run(*command: str, given: str = "") -> None:
    done = subprocess.run(  # noqa: S603 - our own command line
        command, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = f"{' '.join(command)}: {done.stderr.strip()}"
        raise (NetworkRefusedError if any(one in said for one in _REFUSALS) else NetworkError)(said)
