"""The catalogue: which models there are, what each can do, what it costs, and which one stands for its tier."""
