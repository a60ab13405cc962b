"""Reports: groups of runs, compared, and shown as text, as a page or as a figure."""
