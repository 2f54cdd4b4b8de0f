"""`python -m tidemill.testing.simulation`; see `command`."""

from tidemill.testing.simulation.command import main

raise SystemExit(main())
