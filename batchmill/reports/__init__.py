"""Reports: what a day or a week came to, what stands out in it, and how that is told."""
