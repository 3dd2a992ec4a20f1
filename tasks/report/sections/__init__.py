"""The report's sections, one file each: `sections(view)` returns what to show of a run on a lake."""
