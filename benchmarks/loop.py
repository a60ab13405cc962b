"""DefaultLoop with everything on against a bare loop, and against Stable-Baselines3.

The bare loop has the same agent, and seeds every reset as ours does, so that any episode could be
played again. Of ours `train()` is measured, the last checkpoint included. Once more it runs with no
observers: it still copies each action and reward, and calls the agent between episodes.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.harness import Cost, Pairs, Row, apart, every_turn, show, skipped, spread
from benchmarks.samples import Images, Mlp, made
from gym_loop import launch as launcher
from gym_loop.agents import RandomAgent
from gym_loop.envs.make import Library
from gym_loop.loops import BaseLoop

Side = Callable[[], int]


@dataclass(frozen=True)
class Setting:
    """An agent in an environment.

    Attributes:
        package: that it needs.
        words: our overrides.
        make: returns the environment, for the bare loop.
        agent: class of the bare loop's.
        steps: in a block, of a sixth of a second. A run takes some five seconds: its start, its
            end and its checkpoints are seen, as they are.
        share: our least share of the bare loop's speed.
        sb3: id for Stable-Baselines3, its steps in a block, how many times its speed is wanted.
    """

    package: str
    words: tuple[str, ...]
    make: Callable[[], Any]
    agent: type
    steps: int
    share: float
    sb3: tuple[str, int, int] | None = None


CARTPOLE, PENDULUM, CHEETAH = "CartPole-v1", "Pendulum-v1", "HalfCheetah-v5"
MLP, IMAGES = "benchmarks.samples:Mlp", "benchmarks.samples:Images"
SETTINGS = {
    f"{library} {id}": Setting(
        library,
        (f"env={library}:{id}",),
        functools.partial(made, library, id),
        RandomAgent,
        steps,
        share,
        (id, few, 4),
    )
    for id, steps, share, few in ((CARTPOLE, 12_000, 0.85, 1_500), (PENDULUM, 2_600, 0.97, 500))
    for library in get_args(Library)
} | {
    f"gymnasium {CHEETAH}": Setting(
        "mujoco",
        (f"env=gymnasium:{CHEETAH}",),
        functools.partial(made, "gymnasium", CHEETAH),
        RandomAgent,
        2_000,
        0.97,
    ),
    f"an MLP in NumPy, gymnasium {CARTPOLE}": Setting(
        "gymnasium",
        (f"agent={MLP}", f"env=gymnasium:{CARTPOLE}"),
        functools.partial(made, "gymnasium", CARTPOLE),
        Mlp,
        5_000,
        0.95,
    ),
    "images of 84 x 84 x 4": Setting("gym", (f"env={IMAGES}",), Images, RandomAgent, 10_000, 0.95),
}
BLOCKS = 32
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
        self.surroundings = contextlib.ExitStack()  # as a run has them until its end
        self.surroundings.enter_context(launcher.surroundings())

    def begin(self, cfg: Any) -> None:
        """Do what a launch does before it trains."""
        directory = Path(launcher.HydraConfig.get().runtime.output_dir)
        made = {name: launcher.instantiate(node) for name, node in cfg.observers.items() if node}
        self.observers = {name: each for name, each in made.items() if each is not None}
        for observer in self.observers.values():
            observer.open(cfg, directory)
        self.loop = launcher.build(cfg, directory, self.observers)
        self.loop.notify("begin", self.loop)
        self.paused = time.perf_counter()

    def __call__(self) -> int:
        """Play on; return how many steps that were."""
        loop, before = self.loop, self.loop.steps
        leave_out(loop, time.perf_counter() - self.paused)
        loop.parameters["max_steps"] = before + self.steps
        self.left -= 1
        loop.listeners["end_training"] = []
        if not self.left:
            del loop.listeners["end_training"]
        loop.train()
        if not self.left and (trace := self.observers.get("trace")):
            trace.close(None)
        self.paused = time.perf_counter()
        return int(loop.steps - before)

    def close(self) -> None:
        """Leave the run."""
        self.loop.close()
        with silent():
            for observer in reversed(self.observers.values()):
                observer.close(None)
        self.surroundings.close()
        self.folder.cleanup()


def leave_out(loop: BaseLoop, seconds: float) -> None:
    """Let a run's clocks not count a pause: checkpoints may take a share of its time."""
    loop.began += seconds
    if checkpoints := loop.observers.get("checkpoints"):
        checkpoints.earliest += seconds
        checkpoints.next_time += seconds


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


def bare(make: Callable[[], Any], kind: type, steps: int) -> Side:
    """Return what plays episodes of an agent of class `kind` until `steps`, without us."""
    env = make()
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    np.random.seed(0)
    return stepped(env, kind(**spaces), steps)


def stepped(env: Any, agent: Any, steps: int) -> Side:
    """Return what plays episodes in `env` until `steps`, without us."""

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
    """Yield the rows of each setting."""
    sb3 = importlib.util.find_spec("stable_baselines3")
    for name, each in SETTINGS.items():
        what, goal = f"loop, everything on, {name}", f"at least {each.share} of its steps/s"
        alone = f"loop, nothing on, {name}"
        rival = "the same agent in a bare loop that seeds each reset"
        if importlib.util.find_spec(each.package) is None:
            yield skipped(what, rival, goal, f"{each.package} is not installed")
            continue
        sides: list[Callable[[], Side]] = [
            functools.partial(Run, each.steps, BLOCKS, *each.words),
            functools.partial(bare, each.make, each.agent, each.steps),
            functools.partial(Run, each.steps, BLOCKS, *each.words, "observers=none"),
        ]
        if sb3 and each.sb3:
            id, few, _ = each.sb3
            sides.append(functools.partial(collecting, id, few))
        loop, limit, nothing, *collected = measured(BLOCKS, *sides)
        yield compared(what, rival, goal, loop, limit, each.share)
        yield compared(alone, rival, "", nothing, limit)
        if each.sb3:
            times = each.sb3[2]
            rival, goal = "SB3 collecting random actions", f"at least {times} times its steps/s"
            if collected:
                yield compared(what, rival, goal, loop, collected[0], times)
            else:
                yield skipped(what, rival, goal, "stable-baselines3 is not installed")


def measured(blocks: int, *sides: Callable[[], Side], turns: int = TURNS) -> list[list[Cost]]:
    """Return what each side costs, turn by turn."""
    costs = every_turn(lambda: apart(blocks, *sides), turns)
    return [list(side) for side in zip(*costs, strict=True)]


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
