"""Spatio-temporal networks: one architecture per file, single-device."""
