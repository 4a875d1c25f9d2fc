"""Quotes: what a batch or a request will cost, how much of it is answered already, how long it takes."""
