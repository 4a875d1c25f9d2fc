"""Meters: what processes count of themselves, written where others can read it, read, and told to Prometheus."""
