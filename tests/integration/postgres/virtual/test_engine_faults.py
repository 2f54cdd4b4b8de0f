"""See `tests/unit/engine/test_faults.py`."""

import pytest
from tests.unit.engine.test_faults import *  # noqa: F403

pytestmark = pytest.mark.postgres
