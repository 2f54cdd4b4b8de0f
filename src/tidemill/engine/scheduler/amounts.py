"""Amounts of resources: what is asked, what there is, and what of it is free. Never more is taken than there is.

Amounts are counted in millionths, so that they come back exactly. Graphics processors are counted one by one: a
share of one is a share of one device, and is taken where the least is left over that still is enough (best fit), so
that whole devices stay whole; from one on, devices are taken whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.dag.resources import Resources

__all__ = ["GPU", "UNIT", "Amounts", "Holding", "Stock", "amounts_of", "shown"]

#: Millionths of one.
UNIT = 1_000_000
GPU = "gpu"

#: Name and amount of everything asked, in millionths, by name.
Amounts = tuple[tuple[str, int], ...]


def amounts_of(resources: Resources) -> Amounts:
    """What a task asks of the machine, without what it asks nothing of."""
    asked = [("cpu", resources.cpu), ("memory", resources.memory), ("storage", resources.storage)]
    asked += [(GPU, resources.gpu), *resources.custom]
    return tuple(sorted((name, round(amount * UNIT)) for name, amount in asked if amount))


def shown(amount: int) -> str:
    """An amount as people write it."""
    return f"{amount / UNIT:g}" if amount % UNIT else str(amount // UNIT)


@dataclass(frozen=True, slots=True)
class Holding:
    """What one attempt has taken; given back as it is."""

    amounts: Amounts
    #: Number of each graphics processor that it has, with how much of it.
    devices: tuple[tuple[int, int], ...] = ()


class Stock:
    """The resources of one machine."""

    __slots__ = ("_devices", "_free", "_total")

    def __init__(self, total: Mapping[str, float]) -> None:
        """`total` by name; `gpu` is a number of devices. What is not named is not there."""
        self._total = {name: round(amount * UNIT) for name, amount in total.items()}
        self._free = dict(self._total)
        self._devices = [UNIT] * (self._total.get(GPU, 0) // UNIT)

    @property
    def total(self) -> Mapping[str, float]:
        """What there is, by name."""
        return {name: amount / UNIT for name, amount in self._total.items()}

    @property
    def used(self) -> Mapping[str, float]:
        """What is taken, by name."""
        return {name: (amount - self._free[name]) / UNIT for name, amount in self._total.items()}

    def lacks(self, asked: Amounts) -> tuple[str, int, int] | None:
        """The first resource of which more is asked than there ever is, with both amounts; None when all fits."""
        for name, amount in asked:
            total = len(self._devices) * UNIT if name == GPU else self._total.get(name, 0)
            if amount > total:
                return name, amount, total
        return None

    def fits(self, asked: Amounts) -> bool:
        """Whether so much is free now."""
        free = self._free
        for name, amount in asked:
            if name == GPU:
                if self._place(amount) is None:
                    return False
            elif free.get(name, 0) < amount:
                return False
        return True

    def leaves(self, taken: Amounts, asked: Amounts) -> bool:
        """Whether taking `taken` leaves `asked` as near as it is: everything that both name stays enough for it."""
        wanted = dict(asked)
        for name, amount in taken:
            if name not in wanted:
                continue
            if name == GPU or self._free.get(name, 0) - amount < wanted[name]:
                return False
        return True

    def take(self, asked: Amounts) -> Holding:
        """Take what `fits` said is free."""
        devices: tuple[tuple[int, int], ...] = ()
        for name, amount in asked:
            self._free[name] -= amount
            if name == GPU:
                placed = self._place(amount)
                assert placed is not None  # noqa: S101 - `fits` has said so
                devices = placed
                for number, share in devices:
                    self._devices[number] -= share
        return Holding(asked, devices)

    def give(self, holding: Holding) -> None:
        """An attempt has ended."""
        for name, amount in holding.amounts:
            self._free[name] += amount
        for number, share in holding.devices:
            self._devices[number] += share

    def _place(self, amount: int) -> tuple[tuple[int, int], ...] | None:
        """Devices for so much: the fullest one that has room for a share, empty ones for more than one."""
        devices = self._devices
        if amount < UNIT:
            room = [(free, number) for number, free in enumerate(devices) if free >= amount]
            return ((min(room)[1], amount),) if room else None
        whole = [number for number, free in enumerate(devices) if free == UNIT][: -(-amount // UNIT)]
        return tuple((number, UNIT) for number in whole) if len(whole) * UNIT >= amount else None
