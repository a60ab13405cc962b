"""A run in MLflow, for those who use it."""

import logging
import time
from pathlib import Path
from typing import Any

from gym_loop.config import kept
from gym_loop.mistake import Mistake
from gym_loop.observers import Observer
from gym_loop.runs import manifest, reading

BATCH, SECONDS = 500, 5.0  # metrics are sent so many at once, or so often
PARAMETERS, LONGEST = 100, 500  # that MLflow takes at once; characters of one


class Mlflow(Observer):
    """Sends config, returns, agent metrics and the final evaluation, over steps.

    A resumed run goes on in the same MLflow run, where steps that are played again are not sent
    again. As MLflow never changes a parameter, a run that is resumed with others is copied to a new
    MLflow run, and the old one deleted. What fails once the run has begun is said once, and
    training goes on.

    Args:
        experiment: the name of the experiment that the run belongs to; made if it is new.
        tracking_uri: a server, or `sqlite:///FILE`; as MLFLOW_TRACKING_URI says if None.
    """

    def __init__(self, experiment: str = "gym-loop", tracking_uri: str | None = None) -> None:
        self.experiment, self.tracking_uri = experiment, tracking_uri
        self.id: str | None = None
        self.last: dict[str, int] = {}  # by metric: the last step that MLflow has
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
        self.config = kept.view(cfg)

    def begin(self, loop: Any) -> None:
        """Start the run in MLflow, or go on with it."""
        from mlflow import MlflowClient

        self.loop = loop
        try:
            client = MlflowClient(self.tracking_uri)
            self.id = self._continue(client, loop.directory)
        except Exception as error:
            where = self.tracking_uri or "its tracking store"
            raise Mistake(f"MLflow: cannot use {where}: {error}") from None
        self.client = client

    def _continue(self, client: Any, directory: Path) -> str:
        """Return the id of this run's MLflow run: the one that is there, or a new one."""
        from mlflow.entities import Param

        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else client.create_experiment(self.experiment)
        leaves = {k: v for k, v in reading.flat(self.config).items() if k[:10] != "observers."}
        parameters = {key: reading.shown(value)[:LONGEST] for key, value in leaves.items()}
        # Of run.json: a fork has another one than the run that it was forked from.
        start = (manifest.read(directory) or {}).get("start")
        mine = client.search_runs([experiment], f"tags.start = '{start}'") if start else []
        known_points = [
            point
            for run in mine[:1]
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]
        for point in known_points:
            self.last[point.key] = max(self.last.get(point.key, 0), point.step)
        if mine and mine[0].data.params == parameters:
            current = str(mine[0].info.run_id)
            client.update_run(current, status="RUNNING")
        else:
            tags = {"mlflow.runName": directory.name, "directory": str(directory.absolute())}
            current = str(client.create_run(experiment, tags=tags).info.run_id)
            sent = [Param(key, value) for key, value in parameters.items()]
            for at in range(0, len(sent), PARAMETERS):
                client.log_batch(current, params=sent[at : at + PARAMETERS])
            for at in range(0, len(known_points), BATCH):
                client.log_batch(current, metrics=known_points[at : at + BATCH])
            client.set_tag(current, "start", start)  # it is whole
        for run in mine:
            if run.info.run_id != current:
                client.delete_run(run.info.run_id)
        return current

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
            self.last["eval/return"] = loop.steps  # the final one may stand where another does

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

    def _log(self, values: dict[str, float], steps: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.metrics += [
            Metric(name, float(value), now, steps)
            for name, value in values.items()
            if steps > self.last.get(name, -1)
        ]
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
