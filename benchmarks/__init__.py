"""What gym_loop costs against a named rival: `python -m benchmarks` prints one table.

A script here has `rows()`, which measures and returns `harness.Row`s, and runs alone as
`python -m benchmarks.loop`.
"""
