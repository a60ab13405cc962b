"""Foreign libraries, a file or a folder each. Importing one without its extra raises a Mistake."""
