"""One program a peer, run by the Python of that peer's own environment: nothing of batchmill is imported here.

All are called alike and tell the same (`batch.py`): they read a batch file and write one answer a line.
"""
