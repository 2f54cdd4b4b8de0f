"""Runs become attempts: the engine asks the pure core what to do, records it, and carries it out when it is on disk."""
