"""Observers: each watches a run at episode boundaries, and none changes its result."""

from pathlib import Path
from typing import Any


class Observer:
    """What a loop tells those who watch it. Every method does nothing by default.

    A run calls `open`, `restore`, `begin`, the episodes' methods, `end_training`, `close`, in this
    order; observers are called in the order of the config, and `close` in the reverse. What they
    return is ignored, and what they raise fails the run.
    """

    def listens(self, event: str) -> bool:
        """Return whether the method `event` does anything; asked before its first call alone."""
        return getattr(type(self), event) is not getattr(Observer, event)

    def open(self, cfg: Any, directory: Path) -> None:
        """Prepare for the run of `cfg` in `directory`: before agent, env and loop are built."""

    def restore(self, loop: Any) -> None:
        """Put the loop where an earlier launch left it: before any observer's `begin`."""

    def begin(self, loop: Any) -> None:
        """Start: the loop is whole, and a checkpoint has been restored if there was one."""

    def begin_episode(self, loop: Any, episode: Any) -> None:
        """Look at an episode before its `reset`; a wrapper put at `episode.env` sees every step."""

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Look at an episode that has ended, in training or (`episode.training`) in evaluation."""

    def end_evaluation(self, loop: Any, episodes: list[Any]) -> None:
        """Look at all episodes of an evaluation that has ended."""

    def end_cycle(self, loop: Any) -> None:
        """Act between two training episodes: all is at rest, and this is where state is kept."""

    def end_training(self, loop: Any) -> None:
        """Act after the last training episode, before the final evaluation."""

    def close(self, error: BaseException | None) -> None:
        """Leave the run, which has ended well (None) or in `error`; `open` may not have run."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold for this observer, as JSON can hold it.

        What it counts on in files is on the disk when this returns.
        """
        return {}

    def lacks(self, loop: Any, state: dict[str, Any]) -> str:
        """Say what of this observer's files `state` counts on and is gone; empty: nothing is.

        Called before `load_state_dict`: a checkpoint with such a state is passed over.
        """
        return ""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned. Called before `begin`."""
