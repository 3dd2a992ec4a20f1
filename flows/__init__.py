"""Prefect flows, the command line and schedules: what runs in which order."""
