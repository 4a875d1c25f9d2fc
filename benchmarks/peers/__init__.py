"""The others: what they are, the environments they run in, and how one is run and watched."""
