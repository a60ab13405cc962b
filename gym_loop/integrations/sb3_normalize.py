"""Stable-Baselines3's `VecNormalize` for its agents: `agent.normalize`.

The library's wrapper learns from what an environment returns. Here an agent hands it what the loop
has brought, so that it does the same arithmetic in the same order.
"""

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from gym_loop.mistake import Mistake, nearest

# The arguments of `VecNormalize` that `agent.normalize` takes, with their defaults.
DEFAULTS = {p.name: p.default for p in [*inspect.signature(VecNormalize).parameters.values()][2:]}
SUFFIX = ".vecnormalize.pkl"  # of the file beside an exported zip


def check(value: Any) -> None:
    """Raise ValueError if `value`, as `agent.normalize` gives it, is no bool and no arguments."""
    if not isinstance(value, dict):
        if type(value) is not bool:
            example = "{norm_obs: true, norm_reward: false}"
            raise ValueError(f"normalize is {value!r}; expected true, false, or such as {example}")
        return
    for name, given in value.items():
        if name not in DEFAULTS:
            known = f"; VecNormalize has {', '.join(DEFAULTS)}"
            raise ValueError(f"normalize has no {name!r}{nearest(name, DEFAULTS) or known}")
        kind = type(DEFAULTS[name])
        if kind is bool and type(given) is not bool:
            raise ValueError(f"normalize.{name} is {given!r}; expected true or false")
        if kind is float and (type(given) is bool or not isinstance(given, int | float)):
            raise ValueError(f"normalize.{name} is {given!r}; expected a number")


def made(env: VecEnv, value: Any, gamma: float) -> "Normalizer":
    """Return the normalizer that `agent.normalize=value` stands for; it does not learn yet.

    Args:
        env: with the spaces that the agent sees.
        value: True, or arguments of `VecNormalize`.
        gamma: the algorithm's, where `value` gives none; RL Baselines3 Zoo does the same.
    """
    return Normalizer(
        env, training=False, **{"gamma": gamma, **(value if value is not True else {})}
    )


class Normalizer(VecNormalize):  # type: ignore[misc]
    """The library's `VecNormalize`, which is handed its environment's observations and rewards.

    Unlike the library's it pickles as a whole, with the returns of the running episodes.
    """

    obs_rms: Any
    ret_rms: Any

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        del state["class_attributes"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, class_attributes=dict(inspect.getmembers(type(self))))

    def begin(self, observation: Any) -> Any:
        """Return the normalized observations of episodes that all begin."""
        self.venv.given = observation  # type: ignore[attr-defined]
        return self.reset()

    def follow(
        self, observation: Any, rewards: Any, done: Any, last: list[Any]
    ) -> tuple[Any, Any, list[Any]]:
        """Return what a step brought, normalized: observations, rewards, and those of `last`.

        Args:
            observation: after the step; where an episode has ended, the first of the next one.
            rewards: float32, one for each environment.
            done: bool, likewise.
            last: for each environment whose episode has ended, in order, its last observation.
        """
        ended = done.nonzero()[0]
        infos: list[dict[str, Any]] = [{} for _ in done]
        for row, each in zip(ended, last, strict=True):
            infos[row]["terminal_observation"] = each
        self.venv.given = observation, rewards, done, infos  # type: ignore[attr-defined]
        after, normalized, _, infos = self.step_wait()
        return after, normalized, [infos[row]["terminal_observation"] for row in ended]

    def write(self, path: Path) -> None:
        """Write the statistics as the library's `VecNormalize.save` does."""
        plain = VecNormalize.__new__(VecNormalize)  # whose constructor refuses spaces it has not
        vars(plain).update(vars(self))
        with open(path, "wb") as file:
            pickle.dump(plain, file)

    def learn_from(self, other: Any) -> None:
        """Take the statistics of another normalizer.

        Raises:
            Mistake: it normalizes other observations.
        """
        if self.norm_obs and other.norm_obs:
            theirs, here = shapes(other.obs_rms), shapes(self.obs_rms)
            if theirs != here:
                raise Mistake(
                    f"agent.init_from: statistics of {theirs}; the environment has {here}"
                )
            self.obs_rms = other.obs_rms
        self.ret_rms = other.ret_rms


def shapes(statistics: Any) -> Any:
    """Return the shape of what is normalized; for parts of a Dict, of each."""
    if isinstance(statistics, dict):
        return {name: np.shape(part.mean) for name, part in statistics.items()}
    return np.shape(statistics.mean)


def beside(zipped: Path) -> Any:
    """Return the normalizer that lies beside a zip, as we or RL Baselines3 Zoo write it, or None.

    Unpickles: only for files that are trusted.
    """
    theirs = [zipped.with_suffix("") / "vecnormalize.pkl"]  # ENV.zip and ENV/vecnormalize.pkl
    if zipped.stem == "best_model":
        theirs = sorted(zipped.parent.glob("*/vecnormalize.pkl"))
    for file in (zipped.with_name(zipped.stem + SUFFIX), *theirs):
        if file.is_file():
            return pickle.loads(file.read_bytes())
    return None
