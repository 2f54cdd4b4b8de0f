"""The whole service in one thread, deterministic by seed: time, order, disk, network and crashes are drawn from it.

The code of the stages is the real one, down to the SQL. What stands in for the surroundings is here, and so is the
model that says afterwards whether a promise was broken; it knows the promises and no stage.
"""
