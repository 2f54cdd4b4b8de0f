"""See `tests/unit/engine/test_decision_times.py`."""

import pytest
from tests.unit.engine.test_decision_times import *  # noqa: F403

pytestmark = pytest.mark.postgres
