"""Where work runs. Knows nothing of video."""
