"""A run and a set of runs, for Python: what `gym_loop.Run` and `gym_loop.Runs` are."""

import contextlib
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from gym_loop import errors, launch, streams
from gym_loop.agents import environment
from gym_loop.loops.copies import copied
from gym_loop.loops.folders import folder_of
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import (
    checkpoints,
    compare,
    manifest,
    playback,
    reading,
    tables,
    traces,
    versions,
)

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A run's directory, read. Nothing is instantiated or unpickled, unless a method says so.

    What is read is kept: make another `Run` to see how one goes on.

    Args:
        directory: the run's.

    Raises:
        Mistake: there is no run in it.
    """

    def __init__(self, directory: "str | Path | Run") -> None:
        given: str | Path = directory.path if isinstance(directory, Run) else directory
        self.path: Path = Path(os.path.expanduser(given))
        self._reader = reading.RunContent(self.path)
        if not self._reader.manifest:
            why = self._reader.warnings[0]
            raise Mistake(f"{self.path} is not a run: {why}{manifest.hint(self.path)}")

    def __repr__(self) -> str:
        """Return the directory, the state and the count of episodes."""
        return f"<Run {self.path}: {self.state}, {self._reader.episodes} episodes>"

    @property
    def state(self) -> str:
        """`running`, `finished`, `stopped`, `failed`, `paused` by a search, or `dead`: killed."""
        return self._reader.state

    @property
    def config(self) -> dict[str, Any]:
        """The config, resolved, secrets masked."""
        return self._reader.config

    @property
    def result(self) -> float | None:
        """Mean return of the final evaluation; None before there is one."""
        return reading.finite(self._reader.manifest.get("result"))

    @property
    def warnings(self) -> list[str]:
        """What the run has warned of, and what of it cannot be read."""
        return list(self._reader.warnings)

    @cached_property
    def episodes(self) -> npt.NDArray[np.void]:
        """Training episodes: a structured array with the columns of `episodes.csv`."""
        return tables.array(self._reader.table(tables.EPISODES))

    @cached_property
    def evaluations(self) -> npt.NDArray[np.void]:
        """Evaluation episodes: a structured array with the columns of `evaluations.csv`."""
        return tables.array(self._reader.table(tables.EVALUATIONS))

    def metrics(self, tag: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return the steps and the values of a curve, as TensorBoard shows it.

        Args:
            tag: such as `train/return`, `eval/return` or `agent/loss`.

        Raises:
            Mistake: the run has no such curve; the line names the nearest.
        """
        if tag not in self._events:
            known = sorted(self._events)
            near = nearest(tag, known, f"; it has {', '.join(known) or 'none'}")
            raise Mistake(f"{self.path} has no curve {tag!r}{near}")
        steps, values = zip(*self._events[tag], strict=True)
        return np.array(steps, np.int64), np.array(values, np.float64)

    def policy(self, checkpoint: str | int = "latest", env: Any = None) -> "Policy":
        """Return the trained agent, which only acts: no exploration, no learning.

        Unpickles what the run has saved: only for runs that are trusted.

        Args:
            checkpoint: `latest`, `best`, or after how many training episodes. Where none is kept
                of that episode, training is played again up to it.
            env: that it will act in, such as `env()` returns: for an agent with `needs_env`.

        Raises:
            Mistake: there is no such checkpoint; the line says which there can be.
            Failure: it cannot be read with the packages of now; the line names their versions.
        """
        launch.parts()
        with checkpoints.at(self.path, checkpoint) as (_, path), self._built() as loop:
            with versions.reading(path, self.path):
                loop.agent.load(path / "agent")
            loop.agent.training, one = False, loop.agent
            if hasattr(loop, "play_round"):  # of loop=vector, whose agents take batches
                from gym_loop.vector.loop import Alone

                one = Alone(loop.agent, loop.env)
            return Policy(loop.agent, one.act, checkpoints.episode(path), env)

    def env(self, checkpoint: str | int = "latest") -> Any:
        """Return a new environment, as the run's evaluation made it. Runs the user's code.

        What its wrappers had learnt at a checkpoint, which is unpickled, they know, and learn no
        more: the policy sees what it has been trained on.

        Args:
            checkpoint: `latest`, `best`, or after how many training episodes.

        Raises:
            Mistake: wrappers learn, and there is no such checkpoint.
        """
        with self._built() as loop:
            env = loop.make_eval_env()
            if getattr(env, "learnt_by_wrappers", list)():
                with (
                    checkpoints.at(self.path, checkpoint) as (_, path),
                    versions.reading(path, self.path),
                ):
                    loop.env.put_into_wrappers(checkpoints.learnt(path))
                env.freeze_wrappers_like(loop.env)
            return env

    def replay(self, episode: int, evaluation: bool = False, frames: bool = False) -> "Replay":
        """Play a recorded episode again, in a new environment. Runs the user's code.

        Args:
            episode: its number.
            evaluation: an episode of evaluation, not of training.
            frames: render each step.

        Raises:
            Mistake: no number; the run has no trace of it; its environment cannot render.
        """
        try:
            episode = operator.index(episode)
        except TypeError:
            raise Mistake(
                f"episode {episode!r}; expected its number, such as "
                'run.episodes["return"].argmax() of the best'
            ) from None
        kind = "eval" if evaluation else "train"
        [(file, _)] = traces.Traces(self.path, kind).chunks([episode], sys.maxsize)
        [trace] = playback.recorded(self.path, file, [episode])
        mode = "rgb_array" if frames else None
        with (
            launch.surroundings(),
            contextlib.closing(playback.make_env(self.path, kind, episode, mode)) as env,
        ):
            again = playback.Playback(env, trace)
            observations, pictures = [], list[npt.NDArray[np.uint8]]()
            for _, observation, _ in again:
                # Copies: an environment may give one and the same array again and again.
                observations.append(copied(observation))
                if frames:
                    pictures.append(copied(env.render()))
            steps = len(observations) - 1
            return Replay(
                observations,
                trace.actions[:steps],
                trace.rewards[:steps],
                pictures if frames else None,
                again.difference,
            )

    @contextlib.contextmanager
    def _built(self) -> Iterator[Any]:
        """Build the run's agent, environment and loop; close the environment at the end."""
        known, random = manifest.load(self.path), streams.get_state()
        playback.check_sources(known, known["config"])
        with launch.surroundings(), errors.mistakes_raised(), contextlib.ExitStack() as stack:
            stack.callback(streams.set_state, random)
            loop = launch.build(OmegaConf.create(known["config"]), self.path, {})
            stack.callback(loop.env.close)
            yield loop

    @cached_property
    def _events(self) -> dict[str, list[tuple[int, float]]]:
        loop = self.config.get("loop", {})
        found: dict[str, list[tuple[int, float]]] = {}
        for name in ("logdir", "eval_logdir"):
            folder = folder_of(loop, name)
            if tables.inside(self.path, folder) is None:
                self._reader.warn(f"loop.{name} lies outside of the run's directory: not read")
            else:
                found |= compare.read_events(self.path / folder, self._is_readable)
        return found

    def _is_readable(self, file: Path) -> bool:
        """Return whether a file can be read as one of the run's own, or warn of why not."""
        try:
            tables.open_file(self.path, file.absolute()).close()
        except OSError as error:
            self._reader.warn(f"cannot read {file.name}: {error.strerror}")
            return False
        return True


class Policy:
    """A trained agent that only acts: call it with an observation.

    An agent with a memory, such as a recurrent one, forgets what came before at `reset`.

    Attributes:
        agent: what acts.
        episode: after how many training episodes it was saved.
        env, eval_env: what an agent with `needs_env` sees as its own; None if none was given.
    """

    def __init__(
        self, agent: Any, act: Callable[[Any, int], Any], episode: int, env: Any = None
    ) -> None:
        self.agent, self.episode = environment.show(self, agent), episode
        self.env = self.eval_env = env
        self._act, self._begun = act, 0

    def reset(self) -> None:
        """Begin an episode, as a loop does before the environment's `reset`."""
        self.agent.begin_episode(self._begun)
        self._begun += 1

    def __call__(self, observation: Any) -> Any:
        """Return an element of the action space for an element of the observation space."""
        if not self._begun:
            self.reset()
        return self._act(observation, self.episode)


@dataclass(frozen=True)
class Replay:
    """An episode of n steps that was played again.

    Attributes:
        observations: n + 1 of them, the first from `reset`.
        actions: n, as `step` was given them.
        rewards: shape (n,), float64, as recorded.
        frames: n + 1 arrays of shape (height, width, 3), uint8; None unless they were asked for.
        difference: where it went another way than recorded, or None.
    """

    observations: list[Any]
    actions: list[Any]
    rewards: npt.NDArray[np.float64]
    frames: list[npt.NDArray[np.uint8]] | None
    difference: str | None


class Runs(Sequence[Run]):
    """The runs in and below a directory, newest first.

    Args:
        directories: where to look; `outputs` and `multirun` when there are none.

    Raises:
        Mistake: there is no run.
    """

    def __init__(self, *directories: "str | Path") -> None:
        self.directories = [Path(os.path.expanduser(directory)) for directory in directories]
        found = [reading.RunContent(path) for path in reading.find(self.directories)]
        found.sort(key=lambda run: run.start, reverse=True)
        self._runs = [Run(run.directory) for run in found if run.manifest]

    def __repr__(self) -> str:
        """Return the directories and the count of runs."""
        return f"<Runs {', '.join(map(str, self.directories)) or '.'}: {len(self)} runs>"

    def __len__(self) -> int:
        """Return how many runs there are."""
        return len(self._runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "list[Run]": ...
    def __getitem__(self, index: int | slice) -> "Run | list[Run]":
        """Return the run of that place, or several."""
        return self._runs[index]

    def frame(self) -> "pd.DataFrame":
        """Return a row for each run: its state, result and counts, and each key that varies.

        Raises:
            Mistake: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise Mistake("frame() needs pandas: pip install pandas") from None
        configs = [reading.flat(run.config) for run in self._runs]
        keys = list(dict.fromkeys(key for config in configs for key in config))
        varying = [k for k in keys if len({repr(config.get(k)) for config in configs}) > 1]
        rows = [
            {
                "path": str(run.path),
                "state": run.state,
                "agent": run._reader.agent,
                "env": run._reader.env,
                **{key: config.get(key) for key in varying},
                "episodes": run._reader.episodes,
                "steps": run._reader.steps,
                "seconds": run._reader.seconds,
                "return": run._reader.last_return,
                "result": run.result,
            }
            for run, config in zip(self._runs, configs, strict=True)
        ]
        return pd.DataFrame(rows)
