"""The stages of a run, in order: probe, plan, units, settle, reduce, train, report."""
