"""What one Dask task does, and how what it wrote is committed."""
