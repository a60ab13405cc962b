"""Sends a run to MLflow."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gym_loop import errors
from gym_loop.loops import BaseLoop, Episode
from gym_loop.mistake import Mistake
from gym_loop.observers.sink import Sink
from gym_loop.runs import reading
from gym_loop.sums import as_float

BATCH, SECONDS = 500, 5.0  # metrics are sent so many at once, or so often
PARAMETERS, LONGEST = 100, 500  # that MLflow takes at once; characters of one
PARTIAL = "partial"  # tag of an MLflow run that is being written; a kill may leave it so


class Mlflow(Sink):
    """Sends config, returns, agent metrics and the final evaluation, over steps.

    A resumed run goes on in the same MLflow run, where steps that are played again are not sent
    again. As MLflow never changes a parameter, a run that is resumed with others is copied to a new
    MLflow run, and the old one deleted. What fails once the run has begun is said once, and
    training goes on.

    Args:
        experiment: the name of the experiment that the run belongs to; made if it is new.
        tracking_uri: a server, or `sqlite:///FILE`; as MLFLOW_TRACKING_URI says if None.
    """

    service, package = "MLflow", "mlflow"

    def __init__(self, experiment: str = "gym-loop", tracking_uri: str | None = None) -> None:
        super().__init__()
        self.experiment, self.tracking_uri = experiment, tracking_uri
        self.id: str | None = None
        self.last: dict[str, int] = {}  # by metric: the last step that MLflow has
        self.client: Any = None
        self.metrics: list[Any] = []
        self.sent = time.monotonic()

    def connect(self, directory: Path, start: str | None) -> None:
        from mlflow import MlflowClient, get_tracking_uri

        uri = self.tracking_uri or get_tracking_uri()
        try:
            with contextlib.nullcontext() if uri.startswith("http") else alone():
                self.client = MlflowClient(uri)
                experiment = self._experiment()
            self.id = self._continue(experiment, directory, start)
        except Exception as error:
            where = self.told(self.tracking_uri or "its tracking store")
            raise Mistake(f"MLflow: cannot use {where}: {self.told(error)}") from None

    def _experiment(self) -> str:
        """Return the id of the experiment, which is made if it is new."""
        client = self.client
        if known := client.get_experiment_by_name(self.experiment):
            return str(known.experiment_id)
        try:
            return str(client.create_experiment(self.experiment))
        except Exception:
            if known := client.get_experiment_by_name(self.experiment):
                return str(known.experiment_id)  # another job has made it in the meantime
            raise

    def _continue(self, experiment: str, directory: Path, start: str | None) -> str:
        """Return the id of this run's MLflow run: the one that is there, or a new one."""
        from mlflow.entities import Param

        client = self.client
        leaves = reading.flat(self.config).items()
        parameters = {key: reading.shown(value)[:LONGEST] for key, value in leaves}
        mine, partial = (
            client.search_runs([experiment], f"tags.{tag} = '{start}'") if start else []
            for tag in ("start", PARTIAL)
        )
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
            tags |= {PARTIAL: start} if start else {}
            current = str(client.create_run(experiment, tags=tags).info.run_id)
            sent = [Param(key, value) for key, value in parameters.items()]
            for at in range(0, len(sent), PARAMETERS):
                client.log_batch(current, params=sent[at : at + PARAMETERS])
            for at in range(0, len(known_points), BATCH):
                client.log_batch(current, metrics=known_points[at : at + BATCH])
            if start:
                client.set_tag(current, "start", start)  # it is whole
                client.delete_tag(current, PARTIAL)
        for run in (*mine, *partial):
            if run.info.run_id != current:
                client.delete_run(run.info.run_id)
        return current

    def end_evaluation(self, loop: BaseLoop, episodes: list[Episode]) -> None:
        """Keep the mean return of an evaluation."""
        super().end_evaluation(loop, episodes)
        if episodes:
            self.last["eval/return"] = loop.steps  # the final one may stand where another does

    def send(self, values: dict[str, float], steps: int) -> None:
        """Keep values that MLflow lacks, and send them now and then."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.metrics += [
            Metric(name, as_float(value), now, steps)
            for name, value in values.items()
            if steps > self.last.get(name, -1)
        ]
        if len(self.metrics) >= BATCH or time.monotonic() - self.sent >= SECONDS:
            self._flush()

    def close(self, error: BaseException | None) -> None:
        """Send the rest and say how the run ended."""
        if self.connected and self.loop.result is not None:
            self.attempt(self.send, {"evaluation": self.loop.result}, self.loop.steps)
        self.attempt(self._flush)
        stopped = error is not None or (self.loop and self.loop.stop)
        failed = errors.is_failure(error)
        status = "FAILED" if failed else "KILLED" if stopped else "FINISHED"
        self.attempt(lambda: self.client.set_terminated(self.id, status))

    def _flush(self) -> None:
        metrics, self.metrics, self.sent = self.metrics, [], time.monotonic()
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.id, metrics=metrics[start : start + BATCH])


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time open a database: two that make its tables at once break it."""
    path = os.path.join(tempfile.gettempdir(), f"gym_loop-{os.getuid()}-mlflow")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
