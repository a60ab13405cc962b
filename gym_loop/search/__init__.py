"""Searches: sweeps whose jobs a study asks for, and whose unpromising jobs are only paused."""
