"""Regions that grow in space and time, as labels, rows and linked boxes."""
