"""Sweeps: their directories, and the launchers and processes that run their jobs."""
