"""Training data: answers that are known to be good, as the vendors' fine-tuning wants them."""
