"""Imported by the launcher before anything else, so that `gym_loop.envs` hides the greetings.

Otherwise a package in `env.imports` could import gym, and gym print its notice, before any maker
is called.
"""
