"""How a config comes about: where options and classes are found, and how a run keeps its own."""
