"""Makes gym 0.26.2, which was written for NumPy 1, behave the same on NumPy 2.

Two names are gone: `np.float_`, without which Acrobot cannot step, and `np.bool8`, used by gym's
environment checker. And NumPy 2 keeps float32 where NumPy 1 widened a float32 scalar to float64
(NEP 50), which silently changes the trajectories of Pendulum and MountainCarContinuous.
`give_names` gives gym the names back; `adapt` gives an environment its trajectories back:
observations and flags bit for bit. A reward of Pendulum's can differ in its last bit, as it did in
one of 27 trajectories of up to 600 steps: NumPy 1.26 squares a float32 by `pow` in float64, whose
last bit depends on the processor.
Environments of other packages are left alone: it is not known which NumPy they were written for.
"""

import types
from typing import Any

import gym
import numpy as np
from gym.envs.classic_control import acrobot
from gym.envs.classic_control.acrobot import AcrobotEnv
from gym.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gym.envs.classic_control.pendulum import PendulumEnv
from gym.utils import passive_env_checker

# As dtypes: NumPy would make one of `np.float32` at each step.
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

ON_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def give_names() -> None:
    """Give the two modules of gym that use them the names that NumPy 2 lacks.

    Their `np` becomes a copy of NumPy's namespace with the two names added; looking a name up in it
    is as fast as in NumPy itself.
    """
    if vars(acrobot)["np"] is not np:
        return
    numpy_1 = types.ModuleType("numpy")
    vars(numpy_1).update(vars(np), bool8=np.bool_, float_=np.float64)
    for module in (acrobot, passive_env_checker):
        vars(module)["np"] = numpy_1


class NumPy1Names(gym.Wrapper[Any, Any]):
    """Changes nothing but unpickling, after which the environment finds the two names, too."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become what was pickled."""
        vars(self).update(state)
        give_names()


class NumPy1Physics(NumPy1Names):
    """Computes in float64 what NumPy 1 computed in float64: actions and `state` are widened.

    Observations keep the dtype that the environment gives them.
    """

    env: Any

    def reset(self, **kwargs: Any) -> Any:
        """Reset the environment."""
        result = self.env.reset(**kwargs)
        self._widen_state()
        return result

    def step(self, action: Any) -> Any:
        """Step the environment with `action`, of its shape and of any real dtype, as float64."""
        result = self.env.step(np.asarray(action, FLOAT64))
        self._widen_state()
        return result

    def _widen_state(self) -> None:
        env = self.env
        if env.state.dtype == FLOAT32:
            env.state = env.state.astype(FLOAT64)


def adapt(env: Any) -> Any:
    """Return `env`, changed where needed so that it behaves on this NumPy as it did on NumPy 1.

    Only Pendulum, MountainCarContinuous and Acrobot need it, and only on NumPy 2. The wrapper goes
    innermost, so that whatever transforms actions around the environment stays outside.
    """
    inner = env.unwrapped
    if not ON_NUMPY_2:
        return env
    if isinstance(inner, (PendulumEnv, Continuous_MountainCarEnv)):
        adapted: NumPy1Names = NumPy1Physics(inner)
    elif isinstance(inner, AcrobotEnv):
        adapted = NumPy1Names(inner)
    else:
        return env
    if env is inner:
        return adapted
    innermost = env
    while innermost.env is not inner:
        innermost = innermost.env
    innermost.env = adapted
    return env
