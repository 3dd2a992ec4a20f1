"""Prefect flows, the command line and schedules: what runs in which order."""

import os

# Before Prefect is imported anywhere: nothing leaves the machine unasked.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
# Its default of 20 s for a temporary server is too short on a busy machine: the run would end before it started.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")  # else it prints each undelivered event
# After 2, 4 and 8 s Prefect's client gives up; by its default of 5 a silent server would hold a run for minutes.
os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "3")
