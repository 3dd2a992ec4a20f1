"""From stored frames to batches: samples, windows of them, a reader, and batches read ahead. Knows no objective."""
