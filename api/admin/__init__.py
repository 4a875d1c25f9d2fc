"""`/admin`: what the command line tells and does, over HTTP, for keys of scope admin."""
