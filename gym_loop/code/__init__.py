"""Which code and packages a run used, on what machine: kept in its folder `code/`, and read."""
