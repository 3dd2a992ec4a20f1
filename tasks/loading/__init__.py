"""From stored frames to batches: samples, their windows, a reader, prefetched batches. Independent of objectives."""
