"""DefaultLoop with everything on against a bare loop, and against Stable-Baselines3.

The bare loop has the same agent, and seeds every reset as ours does, so that any episode could be
played again. Of ours `train()` is measured, the last checkpoint included.
The sides, each a process of its own, take turns within one run of ours, many times a second.
"""

import contextlib
import functools
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Cost, Pairs, Row, apart, every_turn, show, skipped, spread
from gym_loop import launch as launcher
from gym_loop.agents import RandomAgent
from gym_loop.envs import make_gym, make_gymnasium

Side = Callable[[], int]

MAKERS = {"gym": make_gym, "gymnasium": make_gymnasium}
# Environment: blocks, steps in each, our least share of the bare loop's speed, SB3's steps in each
# block, times its speed. A run takes some seconds: its start and its end are seen, as they are.
ENVS = {"CartPole-v1": (32, 10_000, 0.85, 1_500, 4), "Pendulum-v1": (10, 2_000, 0.97, 500, 4)}
TURNS = 3


class Run:
    """A run as a launch makes it, everything on unless `overrides` say otherwise.

    A call plays a block of steps; the one that completes `blocks` of them ends the training, after
    which nothing is left to be written.
    """

    def __init__(self, steps: int, blocks: int, *overrides: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.steps, self.left = steps, blocks
        words = ("loop.max_episodes=null", f"hydra.run.dir={self.folder.name}/run")
        with silent():
            launcher.launch([*overrides, *words], task=self.begin)

    def begin(self, cfg: Any) -> None:
        """Do what a launch does before it trains."""
        directory = Path(launcher.HydraConfig.get().runtime.output_dir)
        made = launcher.instantiate(cfg.observers)
        self.observers = {name: each for name, each in made.items() if each is not None}
        for observer in self.observers.values():
            observer.open(cfg, directory)
        self.loop = launcher.build(cfg, directory, self.observers)
        self.loop.notify("begin", self.loop)
        self.paused = time.perf_counter()

    def __call__(self) -> int:
        """Play on; return how many steps that were."""
        loop, before = self.loop, self.loop.steps
        self.leave_out(time.perf_counter() - self.paused)
        loop.parameters["max_steps"] = before + self.steps
        self.left -= 1
        loop.listeners["end_training"] = []
        if not self.left:
            del loop.listeners["end_training"]
        loop.train()
        if not self.left:
            self.observers["trace"].close(None)
        self.paused = time.perf_counter()
        return int(loop.steps - before)

    def leave_out(self, seconds: float) -> None:
        """Let the run's clocks not count a pause: checkpoints may take a share of its time."""
        self.loop.began += seconds
        if checkpoints := self.observers.get("checkpoints"):
            checkpoints.earliest += seconds
            checkpoints.next_time += seconds

    def close(self) -> None:
        """Leave the run."""
        self.loop.close()
        with silent():
            for observer in reversed(self.observers.values()):
                observer.close(None)
        self.folder.cleanup()


@contextlib.contextmanager
def with_and_without(
    steps: int, blocks: int, words: Sequence[str], without: Sequence[str]
) -> Iterator[tuple[Run, Run]]:
    """Give a run of `words`, and one that is `without` something, around one agent and environment.

    Where these lie in memory makes 3 % of the speed, and how they lie, once pickled, another one.
    """
    runs = (contextlib.closing(Run(steps, blocks, *words, *more)) for more in ((), without))
    with next(runs) as ours, next(runs) as rival:
        rival.loop.agent, rival.loop.env = ours.loop.agent, ours.loop.env
        yield ours, rival


def bare(make: Callable[[str], Any], id: str, steps: int) -> Side:
    """Return what plays episodes until `steps`, without us."""
    env = make(id)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    agent = RandomAgent(**spaces)

    def work() -> int:
        act, memorize, update, step = agent.act, agent.memorize, agent.update, env.step
        done = 0
        while done < steps:
            ob, _ = env.reset(seed=done)
            ended = False
            while not ended:
                action = act(ob, done)
                next_ob, reward, terminated, truncated, _ = step(action)
                memorize(ob, action, reward, terminated, next_ob)
                update(done)
                ob, ended = next_ob, terminated or truncated
                done += 1
        return done

    return work


def collecting(id: str, steps: int) -> Side:
    """Return what has Stable-Baselines3 collect random actions in the environment it makes."""
    from stable_baselines3 import DQN, SAC

    kind = DQN if id.startswith("CartPole") else SAC
    model = kind("MlpPolicy", id, learning_starts=10**9, buffer_size=100_000, device="cpu", seed=0)

    def work() -> int:
        model.learn(steps, reset_num_timesteps=False)
        return steps

    return work


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep what a run prints off the terminal."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def rows() -> Iterator[Row]:
    """Yield the rows for each environment and library."""
    sb3 = importlib.util.find_spec("stable_baselines3")
    for id, (blocks, steps, share, few, times) in ENVS.items():
        for library, make in MAKERS.items():
            what, goal = f"loop, everything on, {library} {id}", f"at least {share} of its steps/s"
            if importlib.util.find_spec(library) is None:
                yield skipped(what, "bare loop", goal, f"{library} is not installed")
                continue
            ours = functools.partial(Run, steps, blocks, f"env={library}:{id}")
            sides = [ours, functools.partial(bare, make, id, steps)]
            if sb3:
                sides.append(functools.partial(collecting, id, few))
            loop, limit, *collected = measured(blocks, *sides)
            rival = "the same agent in a bare loop that seeds each reset"
            yield compared(what, rival, goal, loop, limit, share)
            rival, goal = "SB3 collecting random actions", f"at least {times} times its steps/s"
            if collected:
                yield compared(what, rival, goal, loop, collected[0], times)
            else:
                yield skipped(what, rival, goal, "stable-baselines3 is not installed")


def measured(blocks: int, *sides: Callable[[], Side]) -> list[list[Cost]]:
    """Return what each side costs, turn by turn."""
    turns = every_turn(lambda: apart(blocks, *sides), TURNS)
    return [list(side) for side in zip(*turns, strict=True)]


def compared(
    what: str,
    rival: str,
    goal: str,
    ours: list[Cost],
    theirs: list[Cost],
    least: float | None = None,
) -> Row:
    """Return the row of two sides that took turns."""
    pairs = Pairs(ours, theirs)
    ratios = pairs.times_as_fast()
    met = None if least is None else statistics.median(ratios) >= least
    by_cpu = spread(pairs.times_as_fast("cpu"))
    return Row(what, rival, goal, spread(ratios), met, by_cpu, pairs.both("us a step", 1e6))


if __name__ == "__main__":
    show(rows())
