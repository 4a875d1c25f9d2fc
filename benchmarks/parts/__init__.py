"""One part of the benchmark a file: what it does on the stage, and the samples that gives, by the figure's key."""
