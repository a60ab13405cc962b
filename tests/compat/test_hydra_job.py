"""The quicker `run_job` does what Hydra's own does."""

import os
from enum import Enum
from pathlib import Path

import hydra
import pytest
from hydra.core import utils
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from gym_loop import launch
from gym_loop.compat import hydra_job
from gym_loop.compat.omegaconf import plain

WORDS = ("env=cartpole", "+loop.mine='1e3'", "seed=3", "++hydra.job.env_set.OF_THE_JOB=yes")


def ran(run_job, monkeypatch, folder, *words):
    """What a task sees, what it leaves behind and what is returned, by one `run_job`."""
    seen = {}

    def task(cfg):
        seen["config"] = OmegaConf.to_container(cfg, resolve=True)
        seen["struct"] = OmegaConf.is_struct(cfg.loop)
        seen["hydra"] = OmegaConf.to_container(HydraConfig.get().job)
        seen["output"] = HydraConfig.get().runtime.output_dir
        seen["environment"] = os.environ.get("OF_THE_JOB")
        seen["folder"] = os.getcwd()
        return 7

    results = []
    launch.parts()  # add to the list that is set aside
    monkeypatch.setattr(launch, "prepare", [])
    monkeypatch.setattr(launch, "run_job", lambda *a: results.append(run_job(*a)) or results[0])
    monkeypatch.chdir(folder)
    value = launch.launch([*WORDS, *words, "hydra.run.dir=run"], task=task)
    files = {
        path.name: OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        for path in Path("run/.hydra").iterdir()
    }
    assert os.getcwd() == str(folder)
    [result] = results
    returned = result.overrides, result.working_dir, result.task_name, result.status
    return value, seen, files, returned, result.cfg


@pytest.mark.parametrize("words", [(), ("hydra.job.chdir=true",), ("hydra.output_subdir=null",)])
def test_a_job_sees_returns_and_leaves_what_it_does_with_hydras(monkeypatch, tmp_path, words):
    if words == ("hydra.output_subdir=null",):
        (tmp_path / "run/.hydra").mkdir(parents=True)
    ours = ran(hydra_job.run_job, monkeypatch, tmp_path, *words)
    theirs = ran(utils.run_job, monkeypatch, tmp_path, *words)

    assert ours == theirs
    assert ours[0] == 7
    assert ours[1]["environment"] == "yes"


class Colour(Enum):
    RED = 1


def test_yaml_is_what_omegaconf_writes_also_for_one_member_of_an_enum_in_two_places():
    cfg = OmegaConf.create({"a": Colour.RED, "b": [Colour.RED, "1e3", None], Colour.RED: "${a}"})
    assert hydra_job.to_yaml(plain(cfg)) == OmegaConf.to_yaml(cfg)


def test_what_a_task_raises_is_in_the_result(monkeypatch, tmp_path):
    def fails(cfg):
        raise hydra.errors.HydraException("no")

    monkeypatch.setattr(launch, "prepare", [])
    monkeypatch.setattr(launch, "run_job", hydra_job.run_job)
    with pytest.raises(hydra.errors.HydraException, match="no"):
        launch.launch([f"hydra.run.dir={tmp_path}/run"], task=fails)
