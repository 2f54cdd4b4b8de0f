"""See `tests/unit/routing/test_admission.py`."""

import pytest
from tests.unit.routing.test_admission import *  # noqa: F403

pytestmark = pytest.mark.postgres
