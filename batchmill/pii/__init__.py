"""Data that is somebody's: found in texts by pattern and checksum, and replaced by placeholders that name its kind."""
