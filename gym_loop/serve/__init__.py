"""The live page: runs as they go, their curves, and any episode played again."""
