"""Prefect flows, the command line and schedules: what runs in which order."""

import os

# Before Prefect is imported anywhere: nothing leaves the machine unasked.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
