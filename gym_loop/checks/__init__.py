"""Mistakes, named before anything starts; and a preflight for what only a try can tell."""
