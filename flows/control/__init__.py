"""Runs as they are written down, followed, cancelled and cleaned up after."""
