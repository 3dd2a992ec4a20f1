"""Deep features: pretrained networks, their weights, and the grids of their tokens."""
