"""The event log becomes runs and deliveries, each matched trigger with exactly one disposition."""
