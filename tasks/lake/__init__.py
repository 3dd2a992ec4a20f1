"""The lake on disk or in a bucket: arrays, tables, digest."""
