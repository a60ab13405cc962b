"""Weights & Biases and MLflow, without a network."""

import contextlib
import json
import sqlite3
import struct
import time

import pytest

from tests.conftest import rows

RUN = ("env=cartpole", "loop.max_episodes=4", "loop.eval_episodes=2")


def wandb_records(data):
    """The records in a .wandb file: a LevelDB log after seven bytes of its own."""
    block, whole, place = 32768, b"", 7
    while place + 7 <= len(data):
        if block - place % block < 7:  # too little room for a head: zeros up to the next block
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            yield whole
            whole = b""


@pytest.mark.slow
def test_wandb_keeps_config_returns_and_the_final_evaluation(cli, tmp_path):
    pytest.importorskip("wandb", reason='needs the extra: pip install "gym-loop[wandb]"')
    from wandb.proto import wandb_internal_pb2

    done = cli(*RUN, "+sink=wandb", "hydra.run.dir=run", environment={"WANDB_MODE": "offline"})
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    history, config, summary = [], {}, {}
    for data in wandb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            values = {
                item.key or item.nested_key[0]: json.loads(item.value_json)
                for item in record.history.item
            }
            history.append(values)
        elif kind == "run":
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "summary":
            for item in record.summary.update:
                summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
    assert config["env"]["id"] == "CartPole-v1"
    assert config["seed"] == 0
    episodes = rows(tmp_path / "run")
    logged = [values for values in history if "train/return" in values]
    assert [values["train/return"] for values in logged] == [float(e["return"]) for e in episodes]
    assert [values["steps"] for values in logged] == [int(e["steps"]) for e in episodes]
    result = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    assert summary["evaluation"] == pytest.approx(result)


@pytest.mark.slow
def test_mlflow_keeps_config_returns_and_the_final_evaluation(cli, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ["+sink=mlflow", f"observers.mlflow.tracking_uri={store}", "hydra.run.dir=run"]
    done = cli(*RUN, *words)
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("gym-loop")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["env.id"] == "CartPole-v1"
    assert run.data.params["loop.max_episodes"] == "4"
    assert not any(key.startswith("observers") for key in run.data.params)
    points = client.get_metric_history(run.info.run_id, "train/return")
    episodes = rows(tmp_path / "run")
    assert [(p.step, p.value) for p in sorted(points, key=lambda p: p.step)] == [
        (int(e["steps"]), float(e["return"])) for e in episodes
    ]
    result = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    assert run.data.metrics["evaluation"] == pytest.approx(result)


ENDS = """
import sys
from gym_loop.agents import RandomAgent

class Panic(BaseException):
    pass

class Ends(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"how": ""}

    def begin_episode(self, number):
        exec(self.parameters["how"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status"),
    [("raise Panic", "FAILED"), ("raise ValueError", "FAILED"), ("sys.exit(3)", "KILLED")],
)
def test_a_run_that_did_not_finish_is_no_success_for_mlflow_and_wandb(cli, tmp_path, how, status):
    mlflow = pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    pytest.importorskip("wandb", reason='needs the extra: pip install "gym-loop[wandb]"')
    from wandb.proto import wandb_internal_pb2

    (tmp_path / "ends.py").write_text(ENDS)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ("agent=ends.py:Ends", f"agent.how='{how}'", "env=cartpole", "hydra.run.dir=run")
    words += ("+sink=[mlflow,wandb]", f"observers.mlflow.tracking_uri={store}")
    assert cli(*words, environment={"WANDB_MODE": "offline"}).returncode != 0
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("gym-loop").experiment_id])
    assert run.info.status == status
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    records = map(wandb_internal_pb2.Record.FromString, wandb_records(file.read_bytes()))
    codes = [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"]
    assert codes == [1]


def mlflow_runs(mlflow, store):
    """The runs that MLflow shows, by name: (parameters, metric -> its points in order)."""
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("gym-loop")
    found = client.search_runs([experiment.experiment_id])
    return [
        (
            run.info.run_name,
            run.data.params,
            {
                name: sorted(
                    (p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)
                )
                for name in run.data.metrics
            },
        )
        for run in found
    ]


@pytest.mark.slow
def test_after_a_kill_and_an_extension_mlflow_has_each_step_once_and_todays_parameters(
    cli, start, tmp_path
):
    mlflow = pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ("env=cartpole", "+sink=mlflow", f"observers.mlflow.tracking_uri={store}")
    words += ("loop.eval_episodes=2", "loop.episodes_per_checkpoint=null", "hydra.run.dir=run")
    process = start(*words, "loop.max_episodes=100000")
    table = tmp_path / "run" / "episodes.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        # Not before the run trains: whoever asks an empty store makes its tables, too.
        if table.exists() and len(table.read_text().splitlines()) > 1:
            with contextlib.suppress(Exception):
                if mlflow_runs(mlflow, store)[0][2]["train/return"]:
                    break
        time.sleep(0.2)
    process.kill()
    process.communicate()
    sent = mlflow_runs(mlflow, store)[0][2]["train/return"]
    more = len(sent) + 20
    assert cli("resume", "run", f"loop.max_episodes={more}").returncode == 0
    for limit in (more, more + 5):
        done = cli("resume", "run", f"loop.max_episodes={limit}")
        assert done.returncode == 0, done.stderr
        ((name, parameters, metrics),) = mlflow_runs(mlflow, store)
        assert name == "run"
        assert parameters["loop.max_episodes"] == str(limit)
        played = [(int(e["steps"]), float(e["return"])) for e in rows(tmp_path / "run")]
        assert metrics["train/return"] == played
        assert len(played) == limit


@pytest.mark.slow
def test_a_copy_in_mlflow_that_a_kill_cut_short_is_deleted_by_the_next_launch(cli, start, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ("+sink=mlflow", f"observers.mlflow.tracking_uri={store}")
    words += ("env=cartpole", "loop.eval_episodes=0", "hydra.run.dir=run")
    assert cli(*words, "loop.max_episodes=3000").returncode == 0
    process = start("resume", "run", "loop.max_episodes=3001")  # copied, for it has changed
    deadline = time.monotonic() + 120
    # Asked of mlflow, that takes as long as the copy.
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        active = "SELECT COUNT(*) FROM runs WHERE lifecycle_stage = 'active'"
        while database.execute(active).fetchone()[0] < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    process.kill()
    process.communicate()
    assert len(mlflow_runs(mlflow, store)) == 2
    assert cli("resume", "run", "loop.max_episodes=3002").returncode == 0
    ((_, parameters, metrics),) = mlflow_runs(mlflow, store)
    assert parameters["loop.max_episodes"] == "3002"
    assert len(metrics["train/return"]) == 3002


@pytest.mark.slow
def test_a_fork_is_a_run_of_its_own_in_mlflow(cli, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ("+sink=mlflow", f"observers.mlflow.tracking_uri={store}")
    assert cli(*RUN, *words, "hydra.run.dir=run").returncode == 0
    done = cli("fork", "run", "loop.max_episodes=6", "hydra.run.dir=forked")
    assert done.returncode == 0, done.stderr
    found = {name: metrics["train/return"] for name, _, metrics in mlflow_runs(mlflow, store)}
    assert [len(found["run"]), len(found["forked"])] == [4, 2]


@pytest.mark.slow
def test_a_sink_changes_no_result(cli, tmp_path):
    pytest.importorskip("wandb", reason='needs the extra: pip install "gym-loop[wandb]"')
    offline = {"WANDB_MODE": "offline"}
    assert cli(*RUN, "+sink=wandb", "hydra.run.dir=a", environment=offline).returncode == 0
    assert cli(*RUN, "hydra.run.dir=b").returncode == 0
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_sink_that_is_not_installed_names_the_command(cli, tmp_path, name):
    (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name}')\n")
    done = cli(*RUN, f"+sink={name}")
    assert done.returncode == 2
    assert f'pip install "gym-loop[{name}]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


SERVICE = """
import os

def reached(hook):
    if os.environ["FAILS"] == hook:
        raise OSError(f"no answer\\nfrom https://me:sekrit-pw@{os.environ['HOST']}")

class Summary(dict):
    def __setitem__(self, key, value):
        reached("summary")

class Run:
    summary = Summary()
    def define_metric(self, *words, **options):
        reached("define_metric")
    def log(self, values):
        reached("log")
    def finish(self, exit_code):
        reached("finish")

def init(**options):
    reached("init")
    return Run()
"""


@pytest.mark.parametrize("hook", ["init", "define_metric", "log", "summary", "finish"])
def test_what_a_service_raises_is_said_in_a_line_without_secrets_and_ends_no_run_that_has_begun(
    cli, tmp_path, hook
):
    (tmp_path / "wandb.py").write_text(SERVICE)
    words = ("+sink=wandb", "hydra.run.dir=run", "+observers.wandb.entity=${oc.env:HOST}")
    done = cli(*RUN, *words, environment={"FAILS": hook, "HOST": "sekrit-host"})
    known = json.loads((tmp_path / "run" / "run.json").read_text())
    begun = hook not in ("init", "define_metric")
    assert (done.returncode, known["state"]) == ((0, "finished") if begun else (2, "failed"))
    assert len(done.stderr.splitlines()) == 1
    assert "Weights & Biases: no answer from https://(hidden)@(hidden" in done.stderr
    for name in ("run.json", "gym_loop.log"):
        assert "sekrit" not in (tmp_path / "run" / name).read_text()


@pytest.mark.slow
def test_wandb_is_not_told_the_secrets_of_the_command_line(cli, tmp_path):
    pytest.importorskip("wandb", reason='needs the extra: pip install "gym-loop[wandb]"')
    words = ("+agent.things=[{api_key: sekrit}]", "agent.api_token=sekrit", "hydra.run.dir=run")
    (tmp_path / "mine.py").write_text(
        "from gym_loop.agents import RandomAgent\n"
        "class Mine(RandomAgent):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'api_token': '', 'things': []}\n"
    )
    words += ("agent=mine.py:Mine", "+sink=wandb")
    done = cli(*RUN, *words, environment={"WANDB_MODE": "offline"})
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"agent.api_token=(hidden)" in file.read_bytes()
    for path in (tmp_path / "run" / "wandb").rglob("*"):
        assert not path.is_file() or b"sekrit" not in path.read_bytes(), path


@pytest.mark.slow
def test_jobs_that_open_a_new_store_of_mlflow_at_once_all_finish(cli, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ("-m", "seed=1,2,3", "hydra.launcher.n_jobs=3", "hydra.sweep.dir=sweep")
    done = cli(*RUN, *words, "+sink=mlflow", f"observers.mlflow.tracking_uri={store}")
    assert done.returncode == 0, done.stderr
    assert len(mlflow_runs(mlflow, store)) == 3


@pytest.mark.slow
def test_a_store_that_cannot_be_used_is_one_line(cli):
    pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    done = cli(*RUN, "+sink=mlflow", "observers.mlflow.tracking_uri=nonsense://x")
    assert done.returncode == 2
    assert "MLflow: cannot use nonsense://x" in done.stderr
