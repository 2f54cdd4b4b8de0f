"""See `tests/unit/engine/test_cancel.py`."""

import pytest
from tests.unit.engine.test_cancel import *  # noqa: F403

pytestmark = pytest.mark.postgres
