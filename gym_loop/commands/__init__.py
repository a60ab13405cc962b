"""Sub-commands: one file each, with a `main(arguments)`."""
