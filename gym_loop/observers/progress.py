"""Progress of a run: a bar on a terminal, elsewhere a log line every 30 seconds; a summary."""

import logging
import math
import sys
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gym_loop.loops.returns import total
from gym_loop.observers import Observer
from gym_loop.runs import manifest
from gym_loop.terminal import is_watched, live, short

if TYPE_CHECKING:
    from gym_loop.loops import BaseLoop, Episode

BAR_SECONDS, LOG_SECONDS = 0.1, 30.0
WINDOW = 100  # episodes whose returns are averaged

log = logging.getLogger("gym_loop")


class Progress(Observer):
    """Shows episodes done, steps a second, the mean return of the last 100, and the time left."""

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

    def begin(self, loop: "BaseLoop") -> None:
        """Start the bar, if stderr is a terminal."""
        self.loop, self.directory = loop, loop.directory
        self.steps, self.seconds = loop.steps, loop.seconds
        self.trained_until = loop.seconds
        if is_watched():
            self.bar, self.live = _bar(loop), live(refresh_per_second=10)
            self.live.start()
            _redirect_log()  # rich has put something in the place of sys.stderr
        self.due = loop.seconds + (BAR_SECONDS if self.bar else LOG_SECONDS)

    def end_episode(self, loop: "BaseLoop", episode: "Episode") -> None:
        """Show where the run is, when it is time to."""
        if episode.training:
            self.returns.append(episode.ret)
            self.trained_until = episode.seconds
            if not math.isfinite(episode.ret):
                self.not_finite += 1
            elif self.best is None or episode.ret > self.best[0]:
                self.best = episode.ret, episode.number
            if episode.seconds >= self.due:
                self.show(episode.seconds)

    def end_evaluation(self, loop: "BaseLoop", episodes: "list[Episode]") -> None:
        """Keep the returns for the summary, and add up the time that evaluations take."""
        self.evaluation = [episode.ret for episode in episodes]
        now = loop.seconds
        self.evaluated, self.trained_until = self.evaluated + now - self.trained_until, now

    def show(self, seconds: float) -> None:
        """Update the bar, or log a line."""
        loop, rate = self.loop, self.rate(seconds)
        mean = sum(self.returns) / len(self.returns) if self.returns else float("nan")
        if self.bar:
            done, _ = _done(loop)
            self.bar.update(self.bar.task_ids[0], completed=done, rate=rate, mean=f"{mean:.6g}")
            self.live.update(self.bar)
        else:
            log.info(
                "%d episodes, %d steps (%.0f a second), return %.6g (last %d)",
                *(loop.episodes, loop.steps, rate, mean, len(self.returns)),
            )
        self.due = seconds + (BAR_SECONDS if self.bar else LOG_SECONDS)

    def rate(self, seconds: float) -> float:
        """Return the steps a second that this launch has trained."""
        trained = seconds - self.seconds - self.evaluated
        return float((self.loop.steps - self.steps) / max(trained, 1e-9))

    def end_training(self, loop: "BaseLoop") -> None:
        """Remove the bar; the final evaluation has none."""
        self.rate_of_training = self.rate(loop.seconds)
        self._stop()

    def close(self, error: BaseException | None) -> None:
        """Print the summary."""
        self._stop()
        loop = self.loop
        if loop is None or not (error is None or isinstance(error, SystemExit | KeyboardInterrupt)):
            return
        why = loop.stop or (error and type(error).__name__)  # SystemExit, from the agent
        state = f"stopped ({why})" if why else "finished"
        rate = getattr(self, "rate_of_training", 0.0)
        by = None if why or loop.ended else manifest.ended_by(loop)
        limits = [f"loop.{name}={loop.parameters[name]}" for name in by.split(", ")] if by else []
        limits += [loop.ended] if loop.ended and not why else []
        print(
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
        print(f"return: {', '.join(parts) or 'no episode was played'}")
        if why:
            print(f"continue with: gym-loop resume {short(self.directory)}")
        else:
            print(f"run: {short(self.directory)}")

    def state_dict(self) -> dict[str, Any]:
        """Return the last returns and the best one."""
        return {"returns": list(self.returns), "best": self.best, "not_finite": self.not_finite}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
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

    def end_evaluation(self, loop: "BaseLoop", episodes: "list[Episode]") -> None:
        """Print mean, standard deviation, minimum and maximum return."""
        returns = [episode.ret for episode in episodes]
        if not returns:
            print("no episode was played: loop.eval_episodes is 0")
            return
        mean = total(returns) / len(returns)
        deviation = math.sqrt(total((r - mean) * (r - mean) for r in returns) / len(returns))
        print(f"{len(returns)} episodes in {short(loop.directory)}")
        print(
            f"return: mean {mean:.6g}, standard deviation {deviation:.6g}, "
            f"minimum {min(returns):.6g}, maximum {max(returns):.6g}"
        )


def _done(loop: "BaseLoop") -> tuple[int, int | None]:
    """Return how much is done and of how much, in episodes or, without a limit of them, steps."""
    episodes, steps = loop.parameters.get("max_episodes"), loop.parameters.get("max_steps")
    if episodes is None and steps is not None:
        return loop.steps, steps
    return loop.episodes, episodes


def _bar(loop: "BaseLoop") -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    bar = Bar(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} steps/s"),
        TextColumn("return {task.fields[mean]}"),
        TimeRemainingColumn(),
        expand=True,
    )
    done, total = _done(loop)
    bar.add_task("", total=total, completed=done, rate=0.0, mean="-")
    return bar
