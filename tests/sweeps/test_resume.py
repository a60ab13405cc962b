"""`gym-loop resume SWEEP_DIR`."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

from gym_loop.mistake import Mistake
from gym_loop.runs.reading import key_and_value
from gym_loop.sweeps import resume
from gym_loop.sweeps.resume import check_files, replaced
from tests.sweeps.conftest import states, summary


@pytest.mark.slow
def test_a_resumed_sweep_completes_all_that_was_ever_asked_for(sweep, cli, tmp_path):
    sweep("seed=0,1")
    sweep("agent.fate=none", "seed=4")  # refused: another fixed override
    sweep("seed=4")

    result = cli("resume", tmp_path / "sweep", "seed=range(5,7)", cwd=tmp_path.parent)

    assert result.returncode == 0, result.stderr
    assert summary(result).endswith("5 jobs: 2 done, 3 skipped, 0 failed")
    assert list(states(tmp_path / "sweep")) == [f"seed={n}" for n in (0, 1, 4, 5, 6)]


@pytest.mark.slow
def test_of_another_sweepers_sweep_only_what_is_missing_is_run(sweep, cli, tmp_path):
    sweep("seed=3,8")
    # As a launch with Hydra's own sweeper for Optuna has left it, and was killed.
    path = tmp_path / "sweep/sweep.json"
    left = json.loads(path.read_text())
    words = [word for word in left["overrides"] if not word.startswith("seed=")]
    words += ["seed=range(0,10)", "hydra/sweeper=optuna", "hydra/sweeper/sampler=random"]
    left["overrides"] = [*words, "hydra.sweeper.n_trials=2", "hydra.sweeper.direction=maximize"]
    path.write_text(json.dumps(left))
    shutil.rmtree(tmp_path / "sweep/seed=8")
    kept = (tmp_path / "sweep/seed=3/episodes.csv").read_bytes()

    refused = cli("resume", "sweep", "seed=4")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "hydra/sweeper=optuna: resuming it completes its jobs" in refused.stderr
    for said in ("1 done, 1 skipped", "0 done, 2 skipped"):
        done = cli("resume", "sweep", "hydra.launcher.n_jobs=1")
        assert done.returncode == 0, done.stderr
        assert summary(done) == f"2 jobs: {said}, 0 failed"
    assert states(tmp_path / "sweep") == {"seed=3": "finished", "seed=8": "finished"}
    assert (tmp_path / "sweep/seed=3/episodes.csv").read_bytes() == kept
    assert json.loads(path.read_text()) == left


@pytest.mark.slow
def test_a_sweep_of_a_version_with_fewer_observers_goes_on(sweep, cli, tmp_path):
    sweep("seed=0,1")
    for job in ("seed=0", "seed=1"):
        path = tmp_path / "sweep" / job / "run.json"
        known = json.loads(path.read_text())
        del known["config"]["observers"]["code"]
        known["versions"]["numpy"] = "0.9"
        path.write_text(json.dumps(known))
        config = tmp_path / "sweep" / job / "config.yaml"
        content = OmegaConf.load(config)
        del content.observers.code
        OmegaConf.save(content, config)
    (tmp_path / "sweep/.finished.json").unlink()
    for words, said in ((("seed=0,1,2",), "note: jobs before had numpy 0.9, now "), ((), "")):
        done = cli("resume", "sweep", *words)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr and done.stderr.count("\n") == bool(said)
    assert summary(done) == "3 jobs: 0 done, 3 skipped, 0 failed"


KEEPS = """
import os
from gym_loop.agents import RandomAgent

class Note: ...

class Keeps(RandomAgent):
    def memorize(self, *transition):
        self.note = Note()

    def begin_episode(self, number):
        if number == 2 and os.path.exists("broken"):
            raise RuntimeError("of its own")
"""


@pytest.mark.slow
@pytest.mark.parametrize("again", ["launched", "resumed"])
def test_a_sweep_goes_on_when_the_file_of_its_class_is_renamed_as_the_line_advises(
    cli, tmp_path, again
):
    (tmp_path / "old.py").write_text(KEEPS)
    fixed = ["env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1", "hydra.sweep.dir=s"]
    fixed += ["loop.episodes_per_checkpoint=1"]
    assert cli("-m", "agent=old.py:Keeps", *fixed, "seed=0,1").returncode == 0
    (tmp_path / "broken").touch()
    assert cli("-m", "agent=old.py:Keeps", *fixed, "seed=2").returncode == 1
    (tmp_path / "broken").unlink()
    (tmp_path / "old.py").rename(tmp_path / "older.py")

    def run(agent, *more):
        words = ("-m", *fixed, "seed=range(3)") if again == "launched" else ("resume", "s")
        return cli(*words, *agent, *more)

    refused = run(["agent=old.py:Keeps"] if again == "launched" else [])
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no file old.py; did you mean 'older.py'" in refused.stderr
    result = run(["agent=older.py:Keeps"])
    assert result.returncode == 0, result.stderr
    assert summary(result).endswith("3 jobs: 1 done, 2 skipped, 0 failed")
    for job in ("seed=1", "seed=2"):
        assert len((tmp_path / "s" / job / "episodes.csv").read_text().splitlines()) == 4
    log = (tmp_path / "s/seed=2/gym_loop.log").read_text()
    assert "continuing from episode" in log
    (tmp_path / "old.py").write_text(KEEPS)
    refused = run(["agent=old.py:Keeps"])
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "agent=older.py:Keeps then, agent=old.py:Keeps now" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("agent=my.py:A", "say where it is now: agent=path/to/my.py:A"),
        ("env@eval_env=in/my.py:E", "say where it is now: env@eval_env=path/to/my.py:E"),
        ("wrap=[here.py:A, my.py:W]", "say where it is now: wrap=[here.py:A, path/to/my.py:W]"),
        ("agent=my.py\\:A,random", "put it, or a link to it, there again"),
        ("env=choice(here.py:A, my.py:A)", "put it, or a link to it, there again"),
    ],
)
def test_where_the_file_of_a_class_is_gone_it_is_said_what_to_do(
    tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.py").touch()
    key, value = key_and_value(words)
    fixed = [key] if "where" in said else []
    with pytest.raises(Mistake) as raised:
        check_files({key: value}, fixed)
    assert raised.value.message.startswith(f"{key}={value}: no file ")
    assert raised.value.message.endswith(f"my.py; {said}")
    (tmp_path / "in").mkdir()
    for file in ("my.py", "in/my.py"):
        (tmp_path / file).touch()
    check_files({key: value, "note": "gone.py:A", "agent.note": "gone.py:A"}, fixed)


@pytest.mark.slow
def test_a_sweep_from_a_config_folder_is_grown_from_it_also_where_it_was_moved(cli, tmp_path):
    project = tmp_path / "project"
    (project / "settings" / "env").mkdir(parents=True)
    (project / "settings" / "env" / "pole.yaml").write_text("defaults: [cartpole]\n")
    (project / "settings" / "mine.yaml").write_text(
        "defaults: [config, _self_, override env: pole]\nloop: {max_episodes: 2, eval_episodes: 0}"
    )
    flags = ("--config-dir", "settings", "--config-name", "mine")
    done = cli(*flags, "-m", "seed=0,1", "hydra.sweep.dir=sweep", cwd=project)
    assert done.returncode == 0, done.stderr
    for seeds, said in (("range(3)", "1 done, 2 skipped"), ("range(4)", "1 done, 3 skipped")):
        done = cli("resume", "sweep", f"seed={seeds}", cwd=project)
        assert done.returncode == 0, done.stderr
        assert summary(done).endswith(f"{said}, 0 failed")
        project = project.rename(tmp_path / "moved")
    for file in project.glob("sweep/*/run.json"):
        run = json.loads(file.read_text())
        assert (run["episodes"], run["config"]["env"]["id"]) == (2, "CartPole-v1")


def test_what_is_no_sweep_is_refused(tmp_path):
    assert not resume.is_sweep(tmp_path)
    with pytest.raises(Mistake):
        resume.resume(tmp_path, [])


def test_new_overrides_take_the_place_of_known_ones():
    known = ["agent=random", "seed=range(4)", "hydra/launcher=ray", "hydra.launcher.init=null"]

    assert replaced(known, ["seed=9", "env=taxi"]) == [
        *("agent=random", "seed=9", "hydra/launcher=ray", "hydra.launcher.init=null", "env=taxi")
    ]
    assert replaced(known, ["hydra/launcher=pool"])[2:] == ["hydra/launcher=pool"]


@pytest.mark.slow
def test_what_refers_to_the_job_means_the_same_when_a_sweep_is_resumed_and_grown(
    sweep, cli, tmp_path
):
    words = ("env=cartpole", "loop.max_episodes=1", "agent=random", "hydra.sweep.dir=s")
    words += ("loop.eval_episodes=${seed}", "hydra.sweep.subdir=${hydra:job.num}-of-${seed}")
    assert cli("-m", *words, "seed=1,2").returncode == 0
    for more in ((), ("seed=3,2",), ()):
        done = cli("resume", "s", *more)
        assert done.returncode == 0, done.stderr
    runs = [json.loads(path.read_text()) for path in sorted((tmp_path / "s").glob("*/run.json"))]
    assert [(run["seed"], run["config"]["loop"]["eval_episodes"]) for run in runs] == [
        *((1, 1), (2, 2), (3, 3))
    ]
    assert sorted(path.parent.name for path in (tmp_path / "s").glob("*/run.json")) == [
        *("0-of-1", "1-of-2", "2-of-3")
    ]
    assert all(run["launches"] == 1 for run in runs)


def test_a_job_whose_directory_has_the_time_in_its_name_is_refused(child, tmp_path):
    words = ("agent=random", "env=cartpole", "seed=1,2", "hydra.sweep.dir=s")
    done = child("-m", *words, "hydra.sweep.subdir=${seed}-${now:%S}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "hydra.sweep.subdir is ${seed}-${now:%S}: the same sweep at another" in done.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_sweep_of_a_run_config_keeps_the_types_of_its_keys(cli, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "agent: {_target_: gym_loop.agents.RandomAgent}\n"
        "env: {_target_: gym_loop.envs.make_gym, id: CartPole-v1}\n"
        "loop: {_target_: gym_loop.loops.DefaultLoop, max_episodes: 1,\n"
        "  eval_episodes: '${kept.games}'}\nkept: {1: one, 0.5: half, games: 1}\n"
    )
    assert cli("train", "-c", "mine.yaml", "-m", "seed=0,1", "hydra.sweep.dir=s").returncode == 0
    done = cli("resume", "s", "seed=2")
    assert done.returncode == 0, done.stderr
    assert "1 done, 2 skipped" in done.stdout
    config = OmegaConf.load(tmp_path / "s" / "seed=2" / "config.yaml")
    assert config.kept == {1: "one", 0.5: "half", "games": 1}
