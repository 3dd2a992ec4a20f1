"""The command line: `patchlake VERB ...`, a file per group of verbs."""
