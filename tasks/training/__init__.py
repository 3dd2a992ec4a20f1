"""Training: job, loop, evaluation, checkpoints; ranks are started from outside."""
