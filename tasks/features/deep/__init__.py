"""Deep features: pretrained networks, their weights, and their token grids."""
