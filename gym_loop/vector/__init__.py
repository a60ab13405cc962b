"""Many environments at once: the loop, the environments in one form, EnvPool."""
