"""gym_loop: launch reinforcement-learning experiments without writing the training loop again."""

__version__ = "0.1.0"
