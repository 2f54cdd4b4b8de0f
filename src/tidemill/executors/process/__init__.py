"""Attempts made in worker processes of this machine, each in one of its own: what it breaks is only itself.

The service starts one fork server from a clean interpreter (`fork_server`, `nursery`); that forks workers (`child`)
while there is work and none is free, and they end when there is none. What crosses is what crosses to a cluster.
"""
