"""Between an event that matched a trigger and its run: what waits, what goes on together, what is dropped.

`pipeline` is the pure machine of one trigger, `stages/` one module per stage, `gate` what the router calls.
"""
