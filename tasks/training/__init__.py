"""Training: data, loop, metrics, checkpoint; distribution comes from outside."""
