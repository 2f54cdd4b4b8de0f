"""What a run does next, as pure functions over its history: no clock, no randomness, no I/O, no logging."""
