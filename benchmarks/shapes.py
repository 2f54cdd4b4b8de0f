"""Graphs to schedule: generated ones, and the shapes of published scientific workflows. Seeded, the same every time.

The structures and mean runtimes of the five workflows follow

- S. Bharathi, A. Chervenak, E. Deelman, G. Mehta, M.-H. Su, K. Vahi: "Characterization of Scientific Workflows",
  3rd Workshop on Workflows in Support of Large-Scale Science (WORKS), 2008 (the shapes);
- G. Juve, A. Chervenak, E. Deelman, S. Bharathi, G. Mehta, K. Vahi: "Characterizing and profiling scientific
  workflows", Future Generation Computer Systems 29(3), 2013, pages 682-692 (the runtimes of each kind of task).

They are made anew here from those descriptions at a few dozen to a few hundred tasks, as the papers' authors do with
theirs; no trace is copied.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["GENERATED", "PUBLISHED", "Shape"]


@dataclass(slots=True)
class Shape:
    """A graph in topological order with the mean seconds of each task."""

    upstream: list[tuple[int, ...]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, seconds: float, above: Sequence[int] = ()) -> int:
        """One more task; its number."""
        self.upstream.append(tuple(sorted(set(above))))
        self.seconds.append(seconds)
        return len(self.seconds) - 1

    def side(self, count: int, seconds: float, above: Sequence[int] = ()) -> list[int]:
        """Equal tasks side by side."""
        return [self.add(seconds, above) for _ in range(count)]


# ── generated ──


def _layered(chance: random.Random) -> Shape:
    """Layers of tasks, each waiting for one to three of the layer before."""
    shape, before = Shape(), list[int]()
    for _ in range(chance.randint(4, 12)):
        layer = [
            shape.add(_seconds(chance), chance.sample(before, min(len(before), chance.randint(1, 3))))
            for _ in range(chance.randint(2, 10))
        ]
        before = layer
    return shape


def _fork_join(chance: random.Random) -> Shape:
    """A few stages of branches, each a chain of its own length, with a join after each stage."""
    shape = Shape()
    join = shape.add(_seconds(chance))
    for _ in range(chance.randint(1, 4)):
        ends = []
        for _ in range(chance.randint(2, 8)):
            end = join
            for _ in range(chance.randint(1, 6)):
                end = shape.add(_seconds(chance), [end])
            ends.append(end)
        join = shape.add(_seconds(chance), ends)
    return shape


def _random(chance: random.Random) -> Shape:
    """Each task waits for a few of any before it."""
    shape = Shape()
    for index in range(chance.randint(20, 60)):
        above = chance.sample(range(index), min(index, chance.choice((0, 1, 1, 2, 3))))
        shape.add(_seconds(chance), above)
    return shape


def _seconds(chance: random.Random) -> float:
    """Between seconds and minutes, most of them short."""
    return min(chance.lognormvariate(2.5, 1.0), 600.0)


# ── published ──


def _montage(chance: random.Random) -> Shape:
    """Mosaics of the sky: reproject, fit the overlaps, one model of the background, correct, add, shrink."""
    shape, images = Shape(), chance.randint(10, 40)
    projected = shape.side(images, 1.7)
    pairs = [(one, one + 1) for one in range(images - 1)]
    pairs += [tuple(chance.sample(range(images), 2)) for _ in range(2 * images)]  # type: ignore[misc]
    fits = [shape.add(0.7, [projected[one], projected[other]]) for one, other in pairs]
    model = shape.add(384.0, [shape.add(143.0, fits)])
    corrected = [shape.add(1.7, [model, one]) for one in projected]
    added = shape.add(282.0, [shape.add(2.8, corrected)])
    shape.add(0.6, [shape.add(66.0, [added])])
    return shape


def _cybershake(chance: random.Random) -> Shape:
    """Hazards of earthquakes: two large extractions, many seismograms of each, a short peak of each, two archives."""
    shape = Shape()
    seismograms, peaks = list[int](), list[int]()
    for _ in range(chance.randint(2, 5)):
        extracted = shape.add(110.0)
        made = shape.side(chance.randint(5, 25), 79.0, [extracted])
        peaks += [shape.add(0.6, [one]) for one in made]
        seismograms += made
    shape.add(196.0, seismograms)
    shape.add(266.0, peaks)
    return shape


def _epigenomics(chance: random.Random) -> Shape:
    """Methylation of DNA: lanes that are split into chains of four, merged by lane, then merged, indexed, piled up."""
    shape, lanes = Shape(), list[int]()
    for _ in range(chance.randint(1, 4)):
        split = shape.add(34.0)
        chains = []
        for _ in range(chance.randint(4, 20)):
            filtered = shape.add(2.5, [split])
            packed = shape.add(1.4, [shape.add(0.5, [filtered])])
            chains.append(shape.add(202.0, [packed]))
        lanes.append(shape.add(11.0, chains))
    shape.add(56.0, [shape.add(44.0, [shape.add(11.0, lanes)])])
    return shape


def _ligo(chance: random.Random) -> Shape:
    """Gravitational waves: template banks, an inspiral of each, coincidences by group, then the same once more."""
    shape = Shape()
    for _ in range(chance.randint(2, 5)):
        size = chance.randint(3, 9)
        inspirals = [shape.add(460.0, [shape.add(18.0)]) for _ in range(size)]
        coincidence = shape.add(5.4, inspirals)
        again = [shape.add(460.0, [shape.add(5.1, [coincidence])]) for _ in range(size)]
        shape.add(5.4, again)
    return shape


def _sipht(chance: random.Random) -> Shape:
    """Untranslated RNA of bacteria: many short matches beside four long searches, then annotation of findings."""
    shape = Shape()
    matches = shape.add(0.1, shape.side(chance.randint(10, 22), 1.0))
    searches = [shape.add(seconds) for seconds in (32.0, 595.0, 26.0, 3311.0)]
    found = shape.add(12.4, searches)
    parsed = shape.add(0.7, [found])
    blasts = [shape.add(seconds, [found]) for seconds in (0.6, 441.0)]
    blasts += [shape.add(seconds, [parsed]) for seconds in (3.4, 0.7)]
    shape.add(0.1, [found, matches, *blasts])
    return shape


GENERATED: dict[str, Callable[[random.Random], Shape]] = {
    "layered": _layered,
    "fork-join": _fork_join,
    "random": _random,
}
PUBLISHED: dict[str, Callable[[random.Random], Shape]] = {
    "montage": _montage,
    "cybershake": _cybershake,
    "epigenomics": _epigenomics,
    "ligo": _ligo,
    "sipht": _sipht,
}
