"""The run directory: who owns it, what lies in it, how others read it."""
