"""Extractors: one file each; `build` makes them from recipe entries."""
