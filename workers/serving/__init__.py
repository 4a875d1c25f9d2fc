"""What the HTTP service does: each of its faces calls one of these."""
