"""The work: plain functions and frozen types, testable without a cluster. No Prefect, no Dask here."""
