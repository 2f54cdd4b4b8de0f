"""What tests of DAG definitions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill.dag.build import build
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag


@pytest.fixture
def built() -> Callable[..., Dag]:
    """Builds a definition that must be valid."""

    def make(definition: DagDefinition, **options: Any) -> Dag:
        made = build(definition, **options)
        assert isinstance(made, Dag), made
        return made

    return make


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """Messages of a definition that must be refused, without the DAG's name in front."""

    def make(definition: DagDefinition, **options: Any) -> list[str]:
        made = build(definition, **options)
        assert isinstance(made, list), made
        return [problem.message.split(": ", 1)[1] for problem in made]

    return make
