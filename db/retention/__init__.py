"""Retention: what is over goes when it has been kept long enough, in short steps, beside everything that goes on.

Each step is one transaction after which every promise holds, so a run may end after any of them, and the next one goes
on from there:

- a batch is marked as removed first (`doomed`), so that nobody reads half of it; then its lines go, each with its
  input, its calls and its path at once, page by page (`lines`);
- an answer that others may point to becomes an orphan in the very transaction in which its own line goes, and is
  deleted when nobody points to it any more (`orphans`);
- entries of the ledger go in the transaction that adds them to their daily row (`rolling`).

What stays of a batch is its row. It is what its entries in the books are called by, so that of a single request goes
when these have been rolled up.
"""
