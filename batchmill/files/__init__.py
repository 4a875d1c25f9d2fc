"""Files: where those that go in and come out over HTTP are kept."""
