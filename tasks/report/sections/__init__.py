"""The sections of the report, one a file: `sections(view)` returns what it shows of a run on a lake."""
