"""A run in MLflow, for those who use it."""

import logging
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gym_loop.mistake import Mistake
from gym_loop.observers import Observer
from gym_loop.runs import reading

BATCH, SECONDS = 500, 5.0  # metrics are sent so many at once, or so often
PARAMETERS, LONGEST = 100, 500  # that MLflow takes at once; characters of one


class Mlflow(Observer):
    """Sends config, returns, agent metrics and the final evaluation, over steps.

    A resumed run goes on in the same MLflow run. What fails once the run has begun is said once,
    and training goes on.

    Args:
        experiment: the name of the experiment that the run belongs to; made if it is new.
        tracking_uri: a server, or `sqlite:///FILE`; as MLFLOW_TRACKING_URI says if None.
    """

    def __init__(self, experiment: str = "gym-loop", tracking_uri: str | None = None) -> None:
        self.experiment, self.tracking_uri = experiment, tracking_uri
        self.id: str | None = None
        self.client: Any = None
        self.loop: Any = None
        self.metrics: list[Any] = []
        self.sent = time.monotonic()

    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        """Find out before anything starts whether the package is there."""
        try:
            import mlflow  # noqa: F401
        except ImportError:
            raise Mistake(
                'the observer mlflow needs a package: pip install "gym-loop[mlflow]"'
            ) from None

    def open(self, cfg: Any, directory: Path) -> None:
        """Keep the config that is sent."""
        self.config = OmegaConf.to_container(cfg, resolve=True)

    def begin(self, loop: Any) -> None:
        """Start the run in MLflow, or go on with it."""
        from mlflow import MlflowClient

        self.loop = loop
        try:
            client = MlflowClient(self.tracking_uri)
            if self.id is not None:
                client.update_run(self.id, status="RUNNING")
            else:
                self.id = self._create(client, loop.directory)
        except Exception as error:
            where = self.tracking_uri or "its tracking store"
            raise Mistake(f"MLflow: cannot use {where}: {error}") from None
        self.client = client

    def _create(self, client: Any, directory: Path) -> str:
        from mlflow.entities import Param

        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else client.create_experiment(self.experiment)
        tags = {"mlflow.runName": directory.name, "directory": str(directory.absolute())}
        run: str = client.create_run(experiment, tags=tags).info.run_id
        leaves = {k: v for k, v in reading.flat(self.config).items() if k[:10] != "observers."}
        parameters = [Param(key, reading.shown(value)[:LONGEST]) for key, value in leaves.items()]
        for start in range(0, len(parameters), PARAMETERS):
            client.log_batch(run, params=parameters[start : start + PARAMETERS])
        return run

    def end_episode(self, loop: Any, episode: Any) -> None:
        """Keep what a training episode came to, and send it now and then."""
        if episode.training:
            metrics = {f"agent/{name}": value for name, value in episode.metrics.items()}
            self._log(
                {"train/return": episode.ret, "train/length": episode.length, **metrics},
                episode.steps,
            )

    def end_evaluation(self, loop: Any, episodes: list[Any]) -> None:
        """Keep the mean return of an evaluation."""
        if episodes:
            mean = sum(episode.ret for episode in episodes) / len(episodes)
            self._log({"eval/return": mean}, loop.steps)

    def close(self, error: BaseException | None) -> None:
        """Send the rest and say how the run ended."""
        if self.client is None:
            return
        if self.loop.result is not None:
            self._log({"evaluation": self.loop.result}, self.loop.steps)
        self._send()
        stopped = error is not None or self.loop.stop
        status = "FAILED" if isinstance(error, Exception) else "KILLED" if stopped else "FINISHED"
        self._try(lambda: self.client.set_terminated(self.id, status))

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run in MLflow."""
        return {"id": self.id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the run of that id."""
        self.id = state.get("id")

    def _log(self, values: dict[str, float], steps: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.metrics += [Metric(name, float(value), now, steps) for name, value in values.items()]
        if len(self.metrics) >= BATCH or time.monotonic() - self.sent >= SECONDS:
            self._send()

    def _send(self) -> None:
        for start in range(0, len(self.metrics), BATCH):
            batch = self.metrics[start : start + BATCH]
            self._try(lambda batch=batch: self.client.log_batch(self.id, metrics=batch))
        self.metrics, self.sent = [], time.monotonic()

    def _try(self, send: Any) -> None:
        if self.client is not None:
            try:
                send()
            except Exception as error:
                logging.getLogger(__name__).warning(
                    "MLflow: %s; training goes on without it", error
                )
                self.client = None
