"""Whether a machine can ever satisfy a request, and how that is told."""

from __future__ import annotations

import pytest

from tidemill.dag.resources import NO_RESOURCES, Resources
from tidemill.executors.remote.capacity import Machine, explain_misfit

SMALL = Machine("small", cpu=2, memory=4 << 30)
LARGE = Machine("large", cpu=16, memory=64 << 30, gpu=1, custom={"disk": 3})


@pytest.mark.parametrize(
    "request_",
    [
        NO_RESOURCES,
        Resources(cpu=0),
        Resources(cpu=16, memory=64 << 30, gpu=1, custom=(("disk", 3.0),)),
        Resources(gpu=0.5),
    ],
)
def test_request_within_one_machine_fits(request_: Resources) -> None:
    assert explain_misfit(request_, [SMALL, LARGE]) is None


@pytest.mark.parametrize(
    "request_",
    [
        Resources(cpu=17),
        Resources(memory=65 << 30),
        Resources(gpu=2),
        Resources(custom=(("disk", 4.0),)),
        Resources(custom=(("tape", 1.0),)),
    ],
)
def test_request_beyond_every_machine_does_not_fit(request_: Resources) -> None:
    assert explain_misfit(request_, [SMALL, LARGE]) is not None


def test_machines_do_not_add_up() -> None:
    assert explain_misfit(Resources(cpu=3), [SMALL, SMALL]) is not None


def test_misfit_is_told_with_the_numbers() -> None:
    told = explain_misfit(Resources(cpu=4, memory=8 << 30), [SMALL])

    assert told == (
        "the task asks for 4 cpu, 8 GiB memory and no machine of the cluster has that: "
        "small has 2 cpu, 4 GiB memory"
    )


def test_many_machines_are_told_in_short() -> None:
    told = explain_misfit(Resources(cpu=4), [SMALL] * 20)

    assert told is not None
    assert told.endswith("and 12 more")


def test_empty_cluster_is_told() -> None:
    assert explain_misfit(NO_RESOURCES, []) == "the task asks for 1 cpu and the cluster has no machines"
