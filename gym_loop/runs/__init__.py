"""The run directory: its owner, its files, and how they are read."""
