"""Recording, following and cancelling runs, cleaning up after them, and Prefect's server."""
