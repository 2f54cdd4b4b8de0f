"""The demo: the example project, served, fed with real inputs, and watched. `python -m demo [--once]`."""
