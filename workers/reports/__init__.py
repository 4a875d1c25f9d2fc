"""Reports are made and delivered."""
