"""The report of a run: figures and pictures in one HTML page."""
