"""See `tests/unit/engine/test_simulation.py`."""

import pytest
from tests.unit.engine.test_simulation import *  # noqa: F403

pytestmark = pytest.mark.postgres
