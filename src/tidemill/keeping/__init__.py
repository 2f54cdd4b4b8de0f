"""THE PAST: how much of the log is kept, where it goes when it is dropped, and how it is told again.

A stage like the others: it shares storage and vocabulary with them and calls none of them.
"""
