"""Distributed statistics: each reduction is chunk, combine, finalize."""
