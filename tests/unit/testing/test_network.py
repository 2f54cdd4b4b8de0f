"""What a network of the test's own says when there can be none; the network itself is in the acceptance tests."""

from __future__ import annotations

import subprocess

import pytest

from tidemill.testing import network
from tidemill.testing.network import CuttableNetwork, NetworkError, NetworkRefusedError


def test_network_names_the_programs_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.shutil, "which", lambda name: None if name == "nft" else f"/usr/bin/{name}")

    with pytest.raises(NetworkError, match="no nft on the PATH"), CuttableNetwork():
        pass


def test_network_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(network.os, "geteuid", lambda: 1000)

    with pytest.raises(NetworkError, match="only root"), CuttableNetwork():
        pass


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("mount --make-shared /run/netns failed: Operation not permitted", NetworkRefusedError),
        ("Error: Unknown device type.", NetworkRefusedError),
        ("Error: argument is wrong", NetworkError),
    ],
)
def test_refusal_of_the_kernel_is_told_from_mistakes(
    monkeypatch: pytest.MonkeyPatch, said: str, error: type[NetworkError]
) -> None:
    monkeypatch.setattr(network.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(network.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        network.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", said),
    )

    with pytest.raises(NetworkError, match=said.partition(":")[0]) as raised, CuttableNetwork():
        pass

    assert type(raised.value) is error
