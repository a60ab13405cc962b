"""What this project touches of Stable-Baselines3's private parts, each with the reason.

The library does all of it in `learn()`, which steps the environment itself; an agent does not.
"""

import inspect
from typing import Any

# A model's attributes about the running episode: a zip leaves them out, as its reader begins anew.
IN_PROGRESS = ("_last_obs", "_last_original_obs", "_last_episode_starts")
# Arrays of a replay buffer that have a row for each environment; all others grow with its size.
OF_ENVIRONMENTS = ("_current_ep_start",)


def constructor(algorithm: type[Any]) -> dict[str, Any]:
    """Return the constructor's parameters and defaults, without what the library alone gives."""
    theirs = inspect.signature(algorithm.__init__).parameters.values()
    return {p.name: p.default for p in theirs if p.name not in ("self", "env", "_init_setup_model")}


def set_up(model: Any, total_timesteps: int | None) -> None:
    """Prepare a model for training: only `learn()` makes its buffer of episodes."""
    model._setup_learn(total_timesteps)


def set_total_timesteps(model: Any, total: int | None) -> None:
    """Set the steps over which schedules run: only `learn()` takes their number."""
    model._total_timesteps = total


def advance_schedules(model: Any) -> None:
    """Set how much of training remains: schedules read it, and only `learn()` counts it down."""
    if model._total_timesteps:
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)


def swap_starts(model: Any, done: Any) -> Any:
    """Return which rows began an episode and set which begin one next: the rollout stores them."""
    starts, model._last_episode_starts = model._last_episode_starts, done
    return starts


def starts(model: Any) -> Any:
    """Return which rows began an episode: a recurrent policy forgets there what came before."""
    return model._last_episode_starts


def lstm_states(model: Any) -> Any:
    """Return the states of a recurrent policy before the next step: only the model has them."""
    return model._last_lstm_states


def swap_lstm_states(model: Any, after: Any) -> Any:
    """Return the states before a step and set those after it: the rollout stores the former."""
    before, model._last_lstm_states = model._last_lstm_states, after
    return before


def sample(model: Any, observation: Any) -> Any:
    """Return exploring actions and what the buffer stores of them: `predict` draws no warm-up."""
    model._last_obs = observation
    return model._sample_action(model.learning_starts, model.action_noise, model.n_envs)


def count_step(model: Any) -> None:
    """Count a step: DQN lowers its exploration and updates its target there, and nowhere else."""
    model._on_step()


def count_episode(model: Any) -> None:
    """Count an episode: the library's logs and checkpoints have the number, and only it sets it."""
    model._episode_num += 1
