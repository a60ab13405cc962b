"""Where configs come from, and how many of them are run."""
