"""What goes wrong, and how often: drawn by seed, until somebody says that it is enough."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass

from tidemill.testing.simulation.chance import Chance

__all__ = ["Faults", "Weather", "draw_weather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad it is."""

    #: Share of steps at which somebody else than the longest waiting is next.
    disorder: float
    #: Microseconds of a commit and of a reading.
    commit_us: tuple[int, int]
    read_us: tuple[int, int]
    #: Shares of commits that are refused, and of those of which nobody learns that they were made.
    refused: float
    unanswered: float
    #: Seconds between two outages of the disk, and of one; 0: there is none.
    outage_every: float
    outage_seconds: float
    #: Mean number of steps until the process is killed; 0: it is not.
    steps_to_death: int
    #: Share of ends that are stops and not crashes.
    stops: float
    #: Seconds that the wall clock jumps at a time; 0: it does not.
    jump_seconds: float
    #: Share of messages that come late, twice or out of order, and of connections that are cut.
    bad_network: float
    #: Share of deliveries that their receiver does not accept.
    bad_receivers: float


def draw_weather(chance: Chance) -> Weather:
    """The weather of a seed: now and then fine, so that faults do not hide what happens without."""
    draw = chance.stream("weather")
    slow = draw.random() < 0.25
    return Weather(
        disorder=draw.choice((0.0, 0.2, 1.0, 1.0)),
        commit_us=(2_000, 900_000) if slow else (100, 4_000),
        read_us=(200, 200_000) if slow else (20, 800),
        refused=draw.choice((0.0, 0.01, 0.05)),
        unanswered=draw.choice((0.0, 0.01, 0.05)),
        outage_every=draw.choice((0.0, 0.0, 40.0)),
        outage_seconds=draw.choice((0.5, 8.0)),
        steps_to_death=draw.choice((0, 700, 2_000, 2_000, 5_000)),
        stops=draw.choice((0.0, 0.3)),
        jump_seconds=draw.choice((0.0, 0.0, 0.0, 60.0, 4_000.0)),
        bad_network=draw.choice((0.0, 0.1, 0.3)),
        bad_receivers=draw.choice((0.0, 0.2, 0.5)),
    )


class Faults:
    """Draws what befalls one commit, reading or message; nothing any more once `is_over`."""

    def __init__(self, chance: Chance, weather: Weather) -> None:
        self.weather = weather
        self.is_over = False
        self._commits = chance.stream("commits")
        self._reads = chance.stream("reads")
        self._network = chance.stream("network")
        self._outage_from = self._outage_until = 0
        self._fate: str = ""

    def commit_us(self) -> tuple[int, int]:
        """Microseconds until a commit is made, and from there to its answer."""
        least, most = (100, 300) if self.is_over else self.weather.commit_us
        whole = self._commits.randint(least, most)
        before = self._commits.randint(0, whole)
        return before, whole - before

    def read_us(self) -> tuple[int, bool]:
        """Microseconds of a reading, and whether it sees what was there when it began."""
        least, most = (20, 40) if self.is_over else self.weather.read_us
        return self._reads.randint(least, most), self._reads.random() < 0.5

    def draw_commit(self, now_us: int) -> None:
        """Decide what befalls the commit that is made at `now_us`."""
        weather, draw = self.weather, self._commits.random()
        self._fate = ""
        if self.is_over:
            return
        if weather.outage_every and now_us >= self._outage_until:
            self._outage_from = now_us + round(self._commits.expovariate(1e-6 / weather.outage_every))
            self._outage_until = self._outage_from + round(weather.outage_seconds * 1e6)
        if self._outage_from <= now_us < self._outage_until or draw < weather.refused:
            self._fate = "refused"
        elif draw < weather.refused + weather.unanswered:
            self._fate = "unanswered"

    def probe(self, point: str) -> None:
        """What the store is told at a commit point: raises what the disk would."""
        if self._fate == "refused" and point.endswith(".before_commit"):
            raise _disk_error(self._commits)
        if self._fate == "unanswered" and point.endswith(".after_commit"):
            raise _disk_error(self._commits)

    def is_bad(self) -> bool:
        """Whether the network spoils the next message."""
        return not self.is_over and self._network.random() < self.weather.bad_network

    def delay_us(self) -> int:
        """Microseconds that a message is under way."""
        if self.is_over or self._network.random() >= self.weather.bad_network:
            return self._network.randint(50, 500)
        return round(self._network.expovariate(1e-6))


def _disk_error(draw: random.Random) -> sqlite3.Error:
    full = draw.random() < 0.3
    error = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
    error.sqlite_errorname = "SQLITE_FULL" if full else "SQLITE_IOERR"
    return error
