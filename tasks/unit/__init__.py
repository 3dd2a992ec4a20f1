"""What one Dask task does, and how its results are committed."""
