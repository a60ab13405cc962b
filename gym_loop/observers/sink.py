"""The base of observers that send a run to a service."""

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gym_loop.config import kept
from gym_loop.loops import BaseLoop, Episode
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer, infos
from gym_loop.runs import manifest

LONGEST = 500  # characters of an error: a database's may quote all that was to be written


class Sink(Observer):
    """Sends returns, agent metrics and evaluations, over steps, by `send`.

    A failure after the run has begun is logged once, and training goes on without the service.

    Attributes:
        service: its name, in messages.
        package: what has to be installed, also the extra's name.
        connected: whether anything is still sent.
    """

    service: str
    package: str
    only_shows = True

    def __init__(self) -> None:
        self.loop: Any = None
        self.connected = False
        self.hidden: dict[str, str] = {}  # secret texts, and what is said instead

    @classmethod
    def check_parameters(cls, parameters: dict[str, Any]) -> None:
        """Find out before anything starts whether the package is there."""
        try:
            importlib.import_module(cls.package)
        except ImportError:
            raise Mistake(
                f'the observer {cls.package} needs a package: pip install "gym-loop[{cls.package}]"'
            ) from None

    def open(self, cfg: Any, directory: Path) -> None:
        """Keep the config that is sent."""
        view = kept.view(cfg)
        self.hidden = kept.hidden_texts(cfg, view)
        self.config = {k: node for k, node in view.items() if k != "observers"}

    def begin(self, loop: BaseLoop) -> None:
        self.loop = loop
        # Of run.json: a fork has another one than the run that it was forked from.
        self.connect(loop.directory, (manifest.read(loop.directory) or {}).get("start"))
        self.connected = True

    def connect(self, directory: Path, start: str | None) -> None:
        """Start the run that `start` identifies at the service, or go on with it.

        Raises:
            Mistake: the service cannot be used.
        """
        raise NotImplementedError

    def send(self, values: dict[str, float], steps: int) -> None:
        """Send values at a count of training steps."""
        raise NotImplementedError

    def end_episode(self, loop: BaseLoop, episode: Episode) -> None:
        if episode.training:
            metrics = {f"agent/{name}": value for name, value in episode.metrics.items()}
            told = infos.known(infos.keys(loop), episode.info)
            metrics |= {f"train/{name}": value for name, value in zip(*told, strict=True)}
            values = {"train/return": episode.ret, "train/length": episode.length, **metrics}
            self.attempt(self.send, values, episode.steps)

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        if episodes:
            mean = sum(episode.ret for episode in episodes) / len(episodes)
            more = infos.means(infos.keys(loop), episodes)
            values = {"eval/return": mean, **{f"eval/{name}": each for name, each in more.items()}}
            self.attempt(self.send, values, loop.steps)

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call `function` while the service is connected; when it raises, warn and disconnect."""
        if self.connected:
            try:
                function(*arguments)
            except Exception as error:
                logging.getLogger(__name__).warning(
                    "%s: %s; training goes on without it", self.service, self.told(error)
                )
                self.connected = False

    def told(self, what: object) -> str:
        """Return what is said of an error or an address: one line, without secrets."""
        text = " ".join(str(what).split()) or type(what).__name__
        return kept.without_secrets(text, self.hidden)[:LONGEST]
