"""Weights & Biases and MLflow, without a network."""

import json
import struct

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
    # Continued, it stays one run.
    assert cli("resume", "run", "loop.max_episodes=6").returncode == 0
    (run,) = client.search_runs([experiment.experiment_id])
    steps = {p.step for p in client.get_metric_history(run.info.run_id, "train/return")}
    assert steps == {int(e["steps"]) for e in rows(tmp_path / "run")}


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


@pytest.mark.slow
def test_a_store_that_cannot_be_used_is_one_line(cli):
    pytest.importorskip("mlflow", reason='needs the extra: pip install "gym-loop[mlflow]"')
    done = cli(*RUN, "+sink=mlflow", "observers.mlflow.tracking_uri=nonsense://x")
    assert done.returncode == 2
    assert "MLflow: cannot use nonsense://x" in done.stderr
