"""Jobs: what runs by itself. A module each, with `run`; which there are is in `registry.py`, when they are due in
`batchmill/settings/schedules.py`."""
