"""What people do without batchmill, as small programs: the same calls to the same sandbox."""
