"""Attempts made on the workers of a cluster; what crosses is JSON, never an object of the user's code."""
