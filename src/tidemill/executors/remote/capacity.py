"""Whether a cluster's machines can ever satisfy a request, and the sentence that says why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.dag.resources import Resources

__all__ = ["Machine", "explain_misfit", "fits"]

#: Machines that a sentence tells of.
_TOLD = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine (Ray's node, Dask's worker) and all it has, free or not."""

    name: str
    cpu: float = 0.0
    #: Bytes; None when it does not say.
    memory: float | None = None
    gpu: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)


def fits(request: Resources, machine: Machine) -> bool:
    """True when the machine could run the task, were it idle."""
    return (
        machine.cpu >= (1.0 if request.cpu is None else request.cpu)
        and machine.gpu >= (request.gpu or 0.0)
        and (request.memory is None or machine.memory is None or machine.memory >= request.memory)
        and all(machine.custom.get(name, 0.0) >= amount for name, amount in request.custom)
    )


def explain_misfit(request: Resources, machines: Sequence[Machine]) -> str | None:
    """Why no machine can ever run the task, with the numbers; None when one can."""
    if any(fits(request, machine) for machine in machines):
        return None
    asked = _amounts(
        1.0 if request.cpu is None else request.cpu, request.memory, request.gpu, dict(request.custom)
    )
    if not machines:
        return f"the task asks for {asked} and the cluster has no machines"
    told = "; ".join(
        f"{one.name} has {_amounts(one.cpu, one.memory, one.gpu, one.custom)}" for one in machines[:_TOLD]
    )
    rest = f"; and {len(machines) - _TOLD} more" if len(machines) > _TOLD else ""
    return f"the task asks for {asked} and no machine of the cluster has that: {told}{rest}"


def _amounts(cpu: float, memory: float | None, gpu: float | None, custom: Mapping[str, float]) -> str:
    parts = [f"{cpu:g} cpu"]
    if memory is not None:
        parts.append(f"{memory / (1 << 30):.4g} GiB memory")
    if gpu:
        parts.append(f"{gpu:g} gpu")
    parts += [f"{amount:g} {name}" for name, amount in sorted(custom.items())]
    return ", ".join(parts)
