"""`gym-loop check`: plays a config for some seconds, and checks what only playing shows."""

import contextlib
import copy
import importlib
import importlib.util
import inspect
import logging
import re
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gym_loop import errors, launch
from gym_loop.agents import spaces
from gym_loop.checks.growth import Growth, size
from gym_loop.checks.running import OLD_STEP
from gym_loop.mistake import text_of
from gym_loop.observers import Observer
from gym_loop.observers.checkpoints import Checkpoints
from gym_loop.proxy import Wrapper
from gym_loop.runs import compare, playback
from gym_loop.runs.traces import Trace
from gym_loop.streams import episode_seed
from gym_loop.sums import as_float
from gym_loop.terminal import duration, short

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode
    from gym_loop.loops.episode_batch import EpisodeBatch

# The methods of `Trial`, in their order.
CHECKS = (
    *("environment", "determinism", "agent", "training"),
    *("checkpoint", "replay", "time", "disk"),
)
TRY = 3.0  # seconds that the run is tried for
LOOK = 1.0  # seconds that each of the other checks may take
FIRST_OF_MANY = 10  # times that until one of many episodes at once has ended
STEPS = 200  # that two environments are compared over
# The disk space is estimated from what these write; others may open windows or use services.
OBSERVERS = ("episodes", "tensorboard", "trace")
MEASURES = 3  # of the agent's size, during the try


@dataclass
class Finding:
    """One line of the list: what was checked, a tick or a cross, and why.

    `ok` is None for a check that does not apply, which stops no run.
    """

    what: str
    ok: bool | None
    reason: str


class CheckFailed(Exception):
    """A check has failed; the message says why."""


class Skipped(Exception):
    """A check does not apply; the message says why."""


def preflight(cfg: DictConfig, target: Path) -> list[Finding]:
    """Run every check of a config whose run is to be below `target`; return a finding for each."""
    remarks = _Warnings()
    logger = logging.getLogger("gym_loop")
    propagate, level = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(remarks)
    try:
        trial = Trial(cfg, Path(HydraConfig.get().runtime.output_dir), target, remarks)
        known = Finding("config", True, "every key, type and range")
        return [known, *(look(name, getattr(trial, name)) for name in CHECKS)]
    finally:
        logger.removeHandler(remarks)
        logger.propagate = propagate
        logger.setLevel(level)


def look(what: str, at: Callable[[], str]) -> Finding:
    """Return the finding of one check; whatever the check raises is a reason against the config."""
    try:
        return Finding(what, True, at())
    except Skipped as skipped:
        return Finding(what, None, str(skipped))
    except CheckFailed as wrong:
        return Finding(what, False, " ".join(str(wrong).split()))
    except AssertionError as error:
        return Finding(what, False, asserted(error))
    except Exception as error:
        return Finding(what, False, errors.explanation(error) or errors.with_place(error))


def asserted(error: AssertionError) -> str:
    """Return what an assertion says; one that says nothing is quoted, with its place."""
    if error.args and (text := text_of(error)):
        frames = errors.user_frames(error)
        if frames is None:
            return text
        file = Path(frames.tb_frame.f_code.co_filename)
        return f"{text} ({short(file)}:{frames.tb_lineno})"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"fails: {place.line} ({short(Path(place.filename))}:{place.lineno})"


class Trial:
    """The checks of one config, in their order; later ones use the loop of `training`."""

    def __init__(
        self, cfg: DictConfig, directory: Path, target: Path, remarks: "_Warnings"
    ) -> None:
        self.cfg, self.directory, self.target, self.remarks = cfg, directory, target, remarks
        self.make_env = launch.instantiate(cfg.env, partial=True)
        self.loop_class = launch.instantiate(cfg.loop, partial=True).func
        self.loop: Any = None
        self.growth = Growth()
        self.watch = Watch(self.growth)
        self.checkpoint_size = 0

    def new_env(self) -> Any:
        """Return a new environment, one that is stepped alone."""
        env = self.make_env()
        if not hasattr(env, "step"):
            raise Skipped("many environments that are stepped as one")
        return env

    def environment(self) -> str:
        """Let the environment's own library check it."""
        env = self.new_env()
        for library in ("gymnasium", "gym"):
            module = sys.modules.get(library)
            if module is not None and isinstance(env, module.Env):
                break
        else:
            raise Skipped("of no library that has a checker")
        if library == "gym":  # whose checker asks NumPy for names that it has no more
            importlib.import_module("gym_loop.envs.gym_numpy").give_names()
        checker: Any = importlib.import_module(f"{library}.utils.env_checker")
        # gym's wrappers mend what gym does to newer NumPy; Gymnasium wants none.
        subject = env if library == "gym" else env.unwrapped
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                checker.check_env(subject, skip_render_check=True)
            except AssertionError as error:  # which does not say in what an observation is outside
                if "observation space" not in text_of(error):
                    raise
                first = subject.reset(seed=self.cfg.seed)[0]
                if found := spaces.misfit(subject.observation_space, first):
                    raise CheckFailed(f"reset(): {found}, by the observation_space") from None
                raise
        env.close()
        texts = (uncoloured(str(w.message)) for w in caught)
        said = [text for text in texts if "different from the unwrapped version" not in text]
        remark = f"; {library} remarks: {said[0]}" if said else ""
        return f"passes the checker of {library}{remark}"

    def determinism(self) -> str:
        """Play one sequence of actions twice from one seed."""
        one, other = self.new_env(), self.new_env()
        space = copy.deepcopy(one.action_space)
        space.seed(self.cfg.seed)
        seed, until = episode_seed(self.cfg.seed, 0), time.monotonic() + LOOK
        infos: list[str] = []
        compare_results("reset()", one.reset(seed=seed), other.reset(seed=seed), infos)
        steps = 0
        while steps < STEPS and time.monotonic() < until:
            action = space.sample()
            result = one.step(action)
            if len(result) != 5:
                raise CheckFailed(OLD_STEP)
            steps += 1
            compare_results(f"step {steps}", result, other.step(action), infos)
            if result[2] or result[3]:
                seed += 1
                compare_results("reset()", one.reset(seed=seed), other.reset(seed=seed), infos)
        one.close()
        other.close()
        remark = f"; but for the info, in which {infos[0]} differs" if infos else ""
        return f"{steps} steps were equal twice from one seed{remark}"

    def agent(self) -> str:
        """Let `gym_loop.testing` check the agent's class with these spaces."""
        if importlib.util.find_spec("gym_loop.testing") is None:
            raise Skipped("there is no gym_loop.testing")
        testing: Any = importlib.import_module("gym_loop.testing")
        made = launch.instantiate(self.cfg.agent, partial=True)
        # With other values of these, what is restored differs by intent.
        made.keywords.update(getattr(made.func, "exact_with", {}))
        if not inspect.isclass(made.func):
            raise Skipped(f"{made.func.__qualname__} is not a class")
        parameters = {**self.loop_class.get_default_parameters(), **self.cfg.loop}
        env = self.loop_class.make_env(self.make_env, parameters, "train")
        given = copy.deepcopy(self.loop_class.spaces(env))
        env.close()
        if getattr(made.func, "vectorized", False) and hasattr(self.loop_class, "play_round"):
            testing.check_vectorized_agent(
                made.func, parameters["num_envs"], *given, **made.keywords
            )
        else:
            testing.check_agent(made.func, *given, **made.keywords)
        self.remarks.take()  # they are of runs with other parameters
        return f"{made.func.__name__} keeps the contract (gym_loop.testing)"

    def training(self) -> str:
        """Train for a few seconds."""
        observers = {
            name: launch.instantiate(node)
            for name, node in self.cfg.observers.items()
            if node and name in OBSERVERS
        }
        observers["watch"] = self.watch
        for observer in observers.values():
            observer.open(self.cfg, self.directory)
        loop = launch.build(self.cfg, self.directory, observers)
        # Evaluations would count as time of training.
        loop.parameters = {**loop.parameters, "episodes_per_eval": None, "steps_per_eval": None}
        loop.notify("restore", loop)
        loop.notify("begin", loop)
        self.watch.start(loop)
        with contextlib.suppress(_TimeIsOverError):
            loop.train()
        self.watch.end()
        self.loop = loop
        played = f"{self.watch.episodes} episodes, {self.watch.steps} steps"
        return f"{played} in {self.watch.seconds:.1f} s{self.remarks.take()}"

    def checkpoint(self) -> str:
        """Save the agent, restore it elsewhere, and compare."""
        loop, writer, restorer = self.trained(), Checkpoints(), Checkpoints()
        writer.open(self.cfg, self.directory)
        began = time.monotonic()
        writer.write(loop)
        took = time.monotonic() - began
        path = self.directory / "checkpoints" / "latest"
        self.checkpoint_size = size(path.resolve())
        restorer.open(self.cfg, self.directory)
        other = launch.build(self.cfg, self.directory, {"checkpoints": restorer})
        restorer.restore(other)
        again = self.directory / "again"
        again.mkdir()
        other.agent.save(again)
        for line in compare.checkpoint_differences(path / "agent", again):
            raise CheckFailed(f"restored, it is not what was saved: {line}")
        text = f"{bytes_text(self.checkpoint_size)} in {took * 1e3:.1f} ms, restored equal"
        return text + self.remarks.take()

    def replay(self) -> str:
        """Play the first episode again, below all wrappers, as `gym-loop replay` does."""
        self.trained()
        self.new_env().close()
        if (game := self.watch.game) is None or not len(game.actions):
            raise Skipped("no episode that has ended began with a seed of its own")
        env = launch.instantiate(playback.without_wrappers(self.cfg.env))
        rewards = np.array([*map(as_float, game.rewards)])
        played = playback.Playback(
            env, Trace(0, game.seed, game.actions, rewards, game.terminated, game.truncated)
        )
        until, steps = time.monotonic() + LOOK, 0
        for step, _, _ in played:
            steps = step
            if played.difference or time.monotonic() > until:
                break
        env.close()
        if played.difference:
            why = "; is it deterministic, and does no wrapper change what is below it?"
            raise CheckFailed(f"the first episode {played.difference}{why}")
        return f"{steps} steps of the first episode gave equal rewards again"

    def time(self) -> str:
        """Estimate how long the whole run takes."""
        self.trained()
        rate = self.watch.steps / max(self.watch.seconds, 1e-9)
        episodes, steps = self.whole()
        text, limit = f"{rate:.0f} steps a second", self.cfg.loop.get("max_time")
        if steps is None:
            return f"{text}; the run has no limit but {f'{limit} s' if limit else 'you'}"
        evaluated = self.evaluated(episodes) * self.length()
        seconds = (steps + evaluated) / max(rate, 1e-9)
        ends_early = limit and limit < seconds
        stop = f", of which loop.max_time allows {duration(limit)}" if ends_early else ""
        total = f"{steps + evaluated:.0f} steps, {evaluated:.0f} of them in evaluations"
        return f"{text}; about {duration(max(seconds, 1))} for {total}{stop}"

    def disk(self) -> str:
        """Estimate what the whole run writes, and whether there is room for it."""
        self.trained()
        checkpoints = self.directory / "checkpoints"
        written = size(self.directory) - size(checkpoints) - size(self.directory / "again")
        episodes, steps = self.whole()
        each = written / max(self.watch.episodes, 1)
        keep = int(self.cfg.loop.get("keep_checkpoints") or 1) + 2
        existing = next(p for p in (self.target, *self.target.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if episodes is None:
            return f"{bytes_text(each)} an episode; {bytes_text(free)} are free"
        played = self.watch.steps
        full = self.growth.largest(self.loop.agent, self.checkpoint_size, played, steps)
        total = each * (episodes + self.evaluated(episodes)) + keep * full
        text = f"about {bytes_text(total)}, of which {keep} checkpoints {bytes_text(keep * full)}"
        if total > free:
            raise CheckFailed(f"{text}, but {bytes_text(free)} are free in {existing}")
        recorded = self.cfg.loop.get("record") or self.cfg.loop.get("eval_record")
        return f"{text}{' and the recordings' if recorded else ''}; {bytes_text(free)} are free"

    def trained(self) -> Any:
        """Return the loop that has been tried."""
        if self.loop is None:
            raise Skipped("there was no training")
        return self.loop

    def length(self) -> float:
        """Return how long an episode is, in steps."""
        return self.watch.steps / max(self.watch.episodes, 1)

    def whole(self) -> tuple[float | None, float | None]:
        """Return the training episodes and steps of the whole run, None where there is no limit."""
        episodes, steps = (self.cfg.loop.get(name) for name in ("max_episodes", "max_steps"))
        counts = [n for n in (episodes, steps and steps / max(self.length(), 1)) if n]
        if not counts:
            return None, None
        return min(counts), min(counts) * self.length()

    def evaluated(self, episodes: float | None) -> float:
        """Return the episodes of evaluation in a run of that many of training."""
        count = 1.0  # the final one
        for most, name in ((episodes, "episodes_per_eval"), (self.whole()[1], "steps_per_eval")):
            if most and (every := self.cfg.loop.get(name)):
                count += most // every
        return count * (self.cfg.loop.get("eval_episodes") or 0)


class _TimeIsOverError(Exception):
    """The time of the trial is over; raised within an episode that does not end."""


class Watch(Observer):
    """Counts episodes and steps, keeps the first episode, and ends the trial."""

    def __init__(self, growth: Growth) -> None:
        self.growth = growth
        self.game: Any = None  # what was played below the wrappers in the first one that ended
        self.playing: Any = None  # the episode that began last, which may not end
        self.episodes, self.steps, self.seconds, self.saving = 0, 0, 0.0, 0.0

    def start(self, loop: "BaseLoop") -> None:
        """Start the clock, and have an episode that takes too long end the trial."""
        self.loop, self.agent, self.began = loop, loop.agent, time.monotonic()
        # Of many environments there is nothing to replay until an episode has ended.
        patience = FIRST_OF_MANY if hasattr(loop.env, "num_envs") else 1
        self.latest = self.began + patience * (TRY + LOOK)
        loop.agent = _StopsInTime(loop.agent, self)

    def begin_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Remember the episode that is being played."""
        self.playing = episode

    def end_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Keep what was played first; end the trial when its time is over."""
        self.keep(self.played(episode))
        self.look_at_clock()

    def end_episodes(self, loop: "BaseLoop", episodes: "EpisodeBatch") -> None:
        """Keep the first game of `loop=vector`; end the trial when its time is over."""
        for game in episodes.games or episodes:
            self.keep(game)
        self.look_at_clock()

    def played(self, episode: "Episode") -> Any:
        """Return what has been played in an episode below the wrappers."""
        wrapped = hasattr(type(self.loop.env), "bare_game")
        return episode.env.bare_game if wrapped else episode

    def keep(self, game: Any) -> None:
        """Keep the first game that has a reset seed of its own."""
        if self.game is None and game.seed >= 0:
            self.game, self.latest = game, self.began + TRY + LOOK

    def look_at_clock(self) -> None:
        """End the trial when its time is over."""
        loop, taken = self.loop, time.monotonic() - self.began
        if taken > TRY:
            loop.stop = "enough"
        if taken > TRY + LOOK:  # a round of many episodes goes on
            raise _TimeIsOverError

    def end_cycle(self, loop: "BaseLoop") -> None:
        """Measure the agent now and then."""
        now = time.monotonic()
        if now - self.began > TRY * (len(self.growth.sizes) + 1) / (MEASURES + 1):
            self.growth.measure(self.agent, loop.steps)
            self.saving += time.monotonic() - now

    def end(self) -> None:
        """Stop the clock."""
        self.loop.agent = self.agent
        if self.playing:
            self.keep(self.played(self.playing))
        self.seconds = time.monotonic() - self.began - self.saving
        self.episodes, self.steps = self.loop.episodes, self.loop.steps
        if self.playing and not (self.playing.terminated or self.playing.truncated):
            self.episodes, self.steps = self.episodes + 1, self.steps + len(self.playing.rewards)


class _StopsInTime(Wrapper):
    """An agent; its `update`, called in each step, ends the trial when there is no time left."""

    def __init__(self, agent: Any, watch: Watch) -> None:
        super().__init__(agent)
        self.watch = watch

    def update(self, episode_num: Any) -> None:
        """Learn, if there is time left."""
        if time.monotonic() > self.watch.latest:
            raise _TimeIsOverError
        self.env.update(episode_num)


class _Warnings(logging.Handler):
    """Collects the warnings that are logged during the trial."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(" ".join(record.getMessage().split()))

    def take(self) -> str:
        """Return the first warning since the last call, as the end of a sentence."""
        first = next(iter(self.texts), None)
        self.texts.clear()
        return f"; {first}" if first else ""


def compare_results(where: str, one: Any, other: Any, infos: list[str]) -> None:
    """Compare what two environments have returned from `reset` or `step`.

    Infos, the last of it, are for people: where they differ is added to `infos`.

    Raises:
        CheckFailed: with the first difference.
    """
    for line in compare.value_differences(one[:-1], other[:-1], ""):
        raise CheckFailed(
            f"not deterministic: {where} differs between two environments with one seed{line}"
        )
    infos += [f"{where}: {line}" for line in compare.value_differences(one[-1], other[-1], "info")]


def uncoloured(text: str) -> str:
    """Return a warning without terminal colours and without `WARN:`."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(text.split()).removeprefix("WARN: ")


def bytes_text(count: float) -> str:
    """Return a number of bytes with its unit: `1.5 MB`."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count:.0f} bytes"


def listing(findings: list[Finding]) -> str:
    """Return the findings as a list with a tick or a cross each."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        "✓✗".encode(encoding)
        marks = {True: "✓", False: "✗", None: "-"}
    except UnicodeEncodeError:
        marks = {True: "ok", False: "NO", None: "-"}
    return "\n".join(f"{marks[f.ok]} {f.what + ':':<13}{f.reason}" for f in findings)
