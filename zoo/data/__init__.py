"""Data sets: their images decoded, and in batches."""
