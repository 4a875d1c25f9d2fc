"""What `make bench` runs: figures of speed and size, measured on the installed command and real servers."""
