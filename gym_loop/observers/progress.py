"""Progress of a run: a bar on a terminal, elsewhere a log line every 30 seconds; a summary."""

import logging
import math
import re
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from gym_loop import errors
from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.episode_batch import EpisodeBatch
from gym_loop.observers import Observer
from gym_loop.runs import manifest
from gym_loop.runs.reading import WINDOW
from gym_loop.sums import total
from gym_loop.terminal import SPOKEN, is_watched, live, say, short

BAR_SECONDS, LOG_SECONDS = 0.1, 30.0
WINDOW_TOLD = re.compile(r" \(last \d+\)")  # what a narrow terminal does without

log = logging.getLogger("gym_loop")


class Progress(Observer):
    """Shows what is counted, steps a second, mean return, last evaluation, and the time left."""

    only_shows = True

    def __init__(self) -> None:
        self.returns: deque[float] = deque(maxlen=WINDOW)
        self.best: Sequence[Any] | None = None  # return, episode
        self.not_finite = 0  # episodes with a return that is NaN or infinite; none can be the best
        self.evaluated = 0.0  # seconds that evaluations took in this launch
        self.evaluation: list[float] = []
        self.loop: Any = None
        self.bar: Any = None  # of rich's, shown by `live`
        self.due = 0.0
        self.rate_of_training: float | None = None  # steps a second; known when training has ended

    def begin(self, loop: BaseLoop) -> None:
        """Start the bar, if stderr is a terminal."""
        self.loop, self.directory = loop, loop.directory
        self.steps, self.seconds = loop.steps, loop.seconds
        self.done, _, _ = counted(loop)
        self.trained_until = loop.seconds
        if is_watched():
            self.bar, self.live = _bar(loop), live(refresh_per_second=10)
            self.live.start()
            _redirect_log()  # rich has put something in the place of sys.stderr
        self.due = loop.seconds + (BAR_SECONDS if self.bar else LOG_SECONDS)

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        if episode.training:
            self._count(episode.ret, episode.number)
            self._show_when_due(episode.seconds)

    def end_episodes(self, loop: BaseLoop, episodes: EpisodeBatch) -> None:
        for ret, number in zip(episodes.returns.tolist(), episodes.numbers.tolist(), strict=True):
            self._count(ret, number)
        self._show_when_due(episodes.seconds)

    def _count(self, ret: float, number: int) -> None:
        self.returns.append(ret)
        if not math.isfinite(ret):
            self.not_finite += 1
        elif self.best is None or ret > self.best[0]:
            self.best = ret, number

    def _show_when_due(self, seconds: float) -> None:
        self.trained_until = seconds
        if seconds >= self.due:
            self.show(seconds)

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        """Keep the returns for the summary, and add up the time that evaluations take."""
        self.evaluation = [episode.ret for episode in episodes]
        now = loop.seconds
        self.evaluated, self.trained_until = self.evaluated + now - self.trained_until, now

    def show(self, seconds: float) -> None:
        """Update the bar, or log a line."""
        if self.bar:
            done, _, _ = counted(self.loop)
            line = self.line(seconds)
            if len(line) > self.live.console.width:
                line = WINDOW_TOLD.sub("", line)
            self.bar.update(self.bar.task_ids[0], completed=done, line=line)
            self.live.update(self.bar)
        else:
            log.info(self.line(seconds))
        self.due = seconds + (BAR_SECONDS if self.bar else LOG_SECONDS)

    def line(self, seconds: float) -> str:
        """Return `episode 352/1000 · 9,003 steps/s · return 0.90 (last 100) · 1:06 left`."""
        done, total, what = counted(self.loop)
        parts = [f"{what} {done}{'' if total is None else f'/{total}'}"]
        parts.append(f"{self.rate(seconds):,.0f} steps/s")
        if self.returns:
            mean = sum(self.returns) / len(self.returns)
            parts.append(f"return {figure(mean)} (last {len(self.returns)})")
        if self.evaluation:
            parts.append(f"eval {figure(sum(self.evaluation) / len(self.evaluation))}")
        if total is not None and done > self.done:
            pace = (seconds - self.seconds) / (done - self.done)
            parts.append(f"{clock(pace * max(total - done, 0))} left")
        return " · ".join(parts)

    def rate(self, seconds: float) -> float:
        """Return the steps a second that this launch has trained."""
        trained = seconds - self.seconds - self.evaluated
        return float((self.loop.steps - self.steps) / max(trained, 1e-9))

    def end_training(self, loop: BaseLoop) -> None:
        """Remove the bar; the final evaluation has none."""
        self.rate_of_training = self.rate(loop.seconds)
        self._stop()

    def close(self, error: BaseException | None) -> None:
        self._stop()
        loop = self.loop
        if loop is None or errors.is_failure(error):
            return
        left = error is not None and type(error).__name__  # SystemExit, from the agent
        why = loop.stop or left
        state = f"stopped by {SPOKEN.get(why, why)}" if why else "finished"
        rate = self.rate(loop.seconds) if self.rate_of_training is None else self.rate_of_training
        by = None if why or loop.ended else manifest.ended_by(loop)
        limits = [f"loop.{name}={loop.parameters[name]}" for name in by.split(", ")] if by else []
        limits += [loop.ended] if loop.ended and not why else []
        if why:
            say(f"continue with: gym-loop resume {short(self.directory)}")
        say(
            f"{state}: {loop.episodes} episodes, {loop.steps} steps, {rate:.0f} steps a second"
            f"{'; ended by ' if limits else ''}{' and '.join(limits)}"
        )
        parts = []
        if self.returns:
            mean = sum(self.returns) / len(self.returns)
            parts.append(f"mean {mean:.6g} (last {len(self.returns)})")
        if self.best:
            odd = f"; {self.not_finite} not finite" if self.not_finite else ""
            parts.append(f"best {self.best[0]:.6g} (episode {self.best[1]}{odd})")
        if self.evaluation:
            mean = sum(self.evaluation) / len(self.evaluation)
            parts.append(f"evaluation {mean:.6g} ({len(self.evaluation)} episodes)")
        say(f"return: {', '.join(parts) or 'no episode was played'}")
        if not why:
            say(f"run: {short(self.directory)}")

    def state_dict(self) -> dict[str, Any]:
        return {"returns": list(self.returns), "best": self.best, "not_finite": self.not_finite}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.returns.extend(state.get("returns", ()))
        self.best, self.not_finite = state.get("best"), state.get("not_finite", 0)
        if self.best and not math.isfinite(self.best[0]):  # of an older version
            self.best = None

    def _stop(self) -> None:
        if self.bar:
            self.show(self.loop.seconds)
            self.live.stop()
            self.bar = None
            _redirect_log()


def _redirect_log() -> None:
    """Send log lines to the present `sys.stderr`, which rich replaces while it shows a bar."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(sys.stderr)


class Summary(Observer):
    """Prints the returns of `gym-loop evaluate`."""

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        """Print mean, standard deviation, minimum and maximum return."""
        returns = [episode.ret for episode in episodes]
        if not returns:
            say("no episode was played: loop.eval_episodes is 0")
            return
        mean = total(returns) / len(returns)
        deviation = math.sqrt(total((r - mean) * (r - mean) for r in returns) / len(returns))
        say(f"{len(returns)} episodes in {short(loop.directory)}")
        say(
            f"return: mean {mean:.6g}, standard deviation {deviation:.6g}, "
            f"minimum {min(returns):.6g}, maximum {max(returns):.6g}"
        )


def counted(loop: BaseLoop) -> tuple[int, int | None, str]:
    """Return how much is done, of how much, and of what: episodes, or steps if these end it."""
    episodes, steps = loop.parameters.get("max_episodes"), loop.parameters.get("max_steps")
    if episodes is None and steps is not None:
        return loop.steps, steps, "step"
    return loop.episodes, episodes, "episode"


def figure(value: float) -> str:
    """Return a return as a line of progress shows it: 0.90, 1,204.50, 3.2e-05, nan."""
    return f"{value:,.2f}" if 0.1 <= abs(value) < 1e6 or not value else f"{value:.2g}"


def clock(seconds: float) -> str:
    """Return a time as a clock shows it: 0:42, 1:06, 2:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(loop: BaseLoop) -> Any:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    text = TextColumn("{task.fields[line]}", markup=False, table_column=Column(no_wrap=True))
    bar = Bar(BarColumn(bar_width=None), text, expand=True)
    done, total, what = counted(loop)
    bar.add_task("", total=total, completed=done, line=f"{what} {done}")
    return bar
