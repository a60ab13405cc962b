"""Foreign libraries, one file each. Importing one without its extra is a mistake in one line."""
