"""DefaultLoop with everything on against a bare loop, and against Stable-Baselines3.

The bare loop does `sample`, `step` and an unseeded `reset`. Ours seeds every reset, so that any
episode can be played again, and its random agent draws many samples at once; the second row of each
environment has neither difference. Of ours `train()` is measured, the last checkpoint included.
"""

import contextlib
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Cost, Row, show, skipped, spread, take_turns, timed
from gym_loop import launch as launcher
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium

MAKERS = {"gym": make_gym, "gymnasium": make_gymnasium}
# Environment: steps a turn, our least share of the bare loop's speed, SB3's steps, times its speed.
ENVS = {"CartPole-v1": (300_000, 0.80, 10_000, 7), "Pendulum-v1": (20_000, 0.97, 4_000, 4)}
TURNS = 4


class OneByOne(RandomAgent):
    """A random agent that asks the space for each action, as the bare loop does."""

    def act(self, state: Any, episode_num: int) -> Any:
        """Return a sample."""
        return self.action_space.sample()


def bare(env: Any, steps: int, seeded: bool = False) -> Cost:
    """Play episodes until `steps`, as one would without us; `seeded`: with a seed for each."""

    def work() -> int:
        sample, step, done = env.action_space.sample, env.step, 0
        while done < steps:
            env.reset(seed=done) if seeded else env.reset()
            ended = False
            while not ended:
                _, _, terminated, truncated, _ = step(sample())
                done += 1
                ended = terminated or truncated
        return done

    return timed(work)


def looped(*overrides: str) -> Cost:
    """Train as a launch does, everything on unless `overrides` say otherwise."""
    costs = []

    def task(cfg: Any) -> None:
        directory = Path(launcher.HydraConfig.get().runtime.output_dir)
        nodes = cfg.observers.items()
        observers = {name: launcher.instantiate(node) for name, node in nodes if node}
        for observer in observers.values():
            observer.open(cfg, directory)
        loop = launcher.build(cfg, directory, observers)
        loop.notify("begin", loop)

        def work() -> int:
            loop.train()
            return int(loop.steps)

        costs.append(timed(work))
        loop.close()
        for observer in reversed(observers.values()):
            observer.close(None)

    with tempfile.TemporaryDirectory() as folder, silent():
        words = ("loop.max_episodes=null", f"hydra.run.dir={folder}/run")
        launcher.launch([*overrides, *words], task=task)
    return costs[0]


def collected(id: str, steps: int) -> Cost:
    """Have Stable-Baselines3 collect random actions in Gymnasium's environment, as it makes it."""
    from stable_baselines3 import DQN, SAC

    kind = DQN if id.startswith("CartPole") else SAC
    model = kind("MlpPolicy", id, learning_starts=10**9, buffer_size=steps, device="cpu", seed=0)

    def work() -> int:
        model.learn(steps)
        return steps

    return timed(work)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep what a run prints off the terminal."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def rows() -> Iterator[Row]:
    """Yield a row for each environment, library and rival."""
    sb3 = importlib.util.find_spec("stable_baselines3")
    for id, (steps, share, few, times) in ENVS.items():
        for library, make in MAKERS.items():
            what, goal = f"loop, everything on, {library} {id}", f"at least {share} of its steps/s"
            if importlib.util.find_spec(library) is None:
                yield skipped(what, "bare loop", goal, f"{library} is not installed")
                continue
            env, words = make(id), (f"env={library}:{id}", f"loop.max_steps={steps}")
            pairs = take_turns(lambda: looped(*words), lambda: bare(env, steps), TURNS)
            ratios = pairs.times_as_fast()
            yield Row(
                *(what, "bare loop", goal, spread(ratios), statistics.median(ratios) >= share),
                *(spread(pairs.times_as_fast("cpu")), pairs.both("us a step", 1e6)),
            )
            alike = (*words, "agent=benchmarks.loop:OneByOne")
            pairs = take_turns(lambda: looped(*alike), lambda: bare(env, steps, True), 2)
            rival = "bare loop that seeds each reset"
            yield Row(
                *(f"{what}, samples one by one", rival, "", spread(pairs.times_as_fast())),
                *(None, spread(pairs.times_as_fast("cpu")), pairs.both("us a step", 1e6)),
            )
            against, goal = "SB3 collecting random actions", f"at least {times} times its steps/s"
            if sb3 is None:
                yield skipped(what, against, goal, "stable-baselines3 is not installed")
                continue
            pairs = take_turns(lambda: looped(*words), lambda: collected(id, few), 3)
            ratios = pairs.times_as_fast()
            yield Row(
                *(what, against, goal, spread(ratios), statistics.median(ratios) >= times),
                *(spread(pairs.times_as_fast("cpu")), pairs.both("us a step", 1e6)),
            )


if __name__ == "__main__":
    show(rows())
