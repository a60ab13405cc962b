"""Observers are told of a run's episodes and evaluations. Each has a file of its own here."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gym_loop.loops import BaseLoop, Episode
from gym_loop.loops.episode_batch import EpisodeBatch


class Observer:
    """Is told of a run's events; a subclass overrides the methods for those that it needs.

    A run calls, on every observer in the order of the config:

        open                                before agent, environment and loop are built
        restore                             the loop is built; checkpoints put back what they keep
        load_state_dict                     only of a run that goes on from a checkpoint
        begin
          begin_episode, end_episode        training, an episode at a time
          begin_episode ..., end_episodes   training with loop=vector: one call for all that end in
                                            the same step
          begin_episode, end_episode ...,   an evaluation: all of its episodes, then its end
          end_evaluation
          end_cycle                         after each training episode, or round of loop=vector,
                                            and its evaluation
        end_training
          begin_episode, end_episode ...,   the final evaluation, unless the run was stopped
          end_evaluation
        close                               however the run ended, in the reverse order

    `state_dict` is called whenever a checkpoint is written. Every method does nothing by default,
    but for `end_episodes`, which calls `end_episode` for each. What a method returns is ignored,
    unless it says otherwise here; what it raises fails the run. An observer draws from no random
    stream that it has not made itself, so that a run has the same result with it and without it.

    Most observers only watch. One that changes the run says so in the first line of its docstring:
    `Checkpoints` restores it, `Signals` and `Watchdog` can stop it, `Ending` can end its training,
    `Recorder` and `Viewer` wrap the environment of an episode. To stop a run, set `loop.stop` to
    the reason: it ends in order at the next boundary of episodes, with a checkpoint, and can be
    resumed. `loop.finish(reason)` ends training there for good: the run counts as finished.
    """

    # Whether all that it does is to show the run, to a person or a service. Where training is
    # played again, to have a checkpoint that was not kept, it is left out.
    only_shows = False

    def listens(self, event: str) -> bool:
        """Return whether the method named `event` does anything.

        The loop asks once, before the event first happens, and then calls only those that do.
        """
        if event == "end_episodes" and type(self).end_episodes is Observer.end_episodes:
            return self.listens("end_episode")
        return getattr(type(self), event) is not getattr(Observer, event)

    def open(self, cfg: DictConfig, directory: Path) -> None:
        """Prepare for the run of `cfg`, as composed, in its own `directory`, which exists.

        Raise `gym_loop.Mistake` for a request that cannot be met: one line, exit code 2.
        """

    def restore(self, loop: BaseLoop) -> None:
        """Put the loop, its agent and its environments where an earlier launch left them."""

    def begin(self, loop: BaseLoop) -> None:
        """Start to watch: `loop.parameters`, `loop.directory` and the counters are final."""

    def begin_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """Look at an episode before its `reset`.

        May set `episode.env` to a wrapper, to see every step of this episode. In the training of
        `loop=vector` the environment is shared by many episodes, and a wrapper is ignored.
        """

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        """Look at an episode that has ended, in training or (not `episode.training`) evaluation.

        Keep numbers, not the episode: its lists are memory that the next episode can use.
        """

    def end_episodes(self, loop: BaseLoop, episodes: EpisodeBatch) -> None:
        """Look at all training episodes that ended in one step of `loop=vector`, in columns.

        An observer that overrides this overrides `end_episode` as well: it is called by all other
        loops, and for evaluation.
        """
        for episode in episodes:
            self.end_episode(loop, episode)

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        """Look at all episodes of an evaluation that has ended."""

    def end_cycle(self, loop: BaseLoop) -> None:
        """Act between two training episodes (rounds of `loop=vector`), when no episode runs.

        Checkpoints are written here, once all others have acted. May set `loop.stop`.
        """

    def end_training(self, loop: BaseLoop) -> None:
        """Act after the last training episode, before the final evaluation."""

    def close(self, error: BaseException | None) -> None:
        """Leave the run, which has ended well (None) or in `error`.

        Called even if this observer's `open` failed, and for `SystemExit` and `KeyboardInterrupt`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this observer, as JSON holds it.

        Files that it refers to are synced to the disk before this returns.
        """
        return {}

    def lacks(self, loop: BaseLoop, state: dict[str, Any]) -> str:
        """Return what of this observer's files `state` refers to and is missing; "" if nothing is.

        Called before `load_state_dict`; a checkpoint that lacks something is passed over for the
        one before it.
        """
        return ""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned: {} if the checkpoint has nothing of this one."""
