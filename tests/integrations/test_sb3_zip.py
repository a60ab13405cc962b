"""An agent leaves as a zip of Stable-Baselines3's, and begins with one."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import gym_loop
from gym_loop import Mistake

SKIP = 'needs the extra: pip install "gym-loop[sb3]"'
torch = pytest.importorskip("torch", reason=SKIP)
pytest.importorskip("stable_baselines3", reason=SKIP)

SMALL = ("agent.policy_kwargs={net_arch: [8]}", "loop.eval_episodes=1")
AGENTS = {
    "ppo": ("env=cartpole", "agent.n_steps=32", "loop.max_steps=130"),
    "sac": ("env=pendulum", "agent.learning_starts=20", "loop.max_steps=60"),
    "dqn": ("env=cartpole", "agent.learning_starts=20", "loop.max_steps=80"),
}
IDS = {"env=cartpole": "CartPole-v1", "env=pendulum": "Pendulum-v1"}

# In a process where neither gym_loop nor what it stands on can be imported.
PLAIN = """
import json, sys

class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("gym_loop", "gym_loop_files", "hydra", "omegaconf"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import gymnasium, numpy, stable_baselines3
kind, id, observations, steps = json.loads(sys.argv[1])
model = getattr(stable_baselines3, kind).load("model.zip", env=gymnasium.make(id))
actions, _ = model.predict(numpy.array(observations, numpy.float32), deterministic=True)
before = model.num_timesteps
model.learn(steps, reset_num_timesteps=False)
model.save("further.zip")
again, _ = model.predict(numpy.array(observations, numpy.float32), deterministic=True)
print(json.dumps([actions.tolist(), before, model.num_timesteps, again.tolist()]))
"""


def export(run, target, *words):
    command = [sys.executable, "-m", "gym_loop", "export", str(run), str(target), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def predicted(policy, observations):
    return [np.asarray(policy(row)).tolist() for row in observations]


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_goes_to_the_library_and_back_with_equal_predictions(name, tmp_path):
    run = gym_loop.run(f"agent=sb3/{name}", *AGENTS[name], *SMALL, directory=tmp_path / "run")
    done = export(run.path, tmp_path / "model.zip")
    assert done.returncode == 0, done.stderr
    space = run.policy().agent.observation_space
    shape = (5, *space.shape)
    observations = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    asked = [name.upper(), IDS[AGENTS[name][0]], observations.tolist(), 50]
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN, json.dumps(asked)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert plain.returncode == 0, plain.stderr
    actions, before, after, again = json.loads(plain.stdout.splitlines()[-1])
    assert actions == predicted(run.policy(), observations)
    assert before == run.policy().agent.model.num_timesteps < after
    initial = f"agent.init_from={tmp_path / 'further.zip'}"
    words = (f"agent=sb3/{name}", *AGENTS[name], *SMALL, initial, "loop.max_steps=1")
    words += ("agent.n_steps=1000",) if name == "ppo" else ("agent.learning_starts=900",)
    back = gym_loop.run(*words, directory=tmp_path / "back")
    assert predicted(back.policy(), observations) == again
    assert back.policy().agent.model.num_timesteps < 900  # counted anew


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    run = gym_loop.run("agent=sb3/ppo", *AGENTS["ppo"], *SMALL, directory=place / "run")
    run.policy().agent.export(place / "model.zip")
    return run


QUICK = ("agent=sb3/ppo", "env=cartpole", *SMALL, "agent.n_steps=1000", "loop.max_episodes=1")


@pytest.mark.parametrize("source", ["run", "model.zip"])
def test_networks_and_optimizers_are_taken_over_and_lineage_is_kept(trained, source, tmp_path):
    initial = trained.path.parent / source
    run = gym_loop.run(*QUICK, f"agent.init_from={initial}", directory=tmp_path / "new")
    theirs, here = (each.policy().agent.model for each in (trained, run))
    for name, value in theirs.policy.state_dict().items():
        assert torch.equal(value, here.policy.state_dict()[name])
    assert str(theirs.policy.optimizer.state_dict()) == str(here.policy.optimizer.state_dict())
    lineage = json.loads((run.path / "run.json").read_text())["init_from"]
    key = "file" if source.endswith(".zip") else "directory"
    assert lineage[key] == str(initial)


def test_a_run_goes_on_when_what_it_began_with_is_gone(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "copy.zip"
    copy.write_bytes((trained.path.parent / "model.zip").read_bytes())
    run = gym_loop.run(*QUICK, "agent.init_from=copy.zip", directory=tmp_path / "new")
    copy.unlink()
    assert len(gym_loop.resume(run, "loop.max_episodes=2").episodes) == 2
    assert "sha256" in json.loads((run.path / "run.json").read_text())["init_from"]


REFUSED = {
    "another algorithm": (["agent=sb3/a2c", "env=cartpole"], "model.zip is of sb3/ppo; expected"),
    "observations": (
        ["agent=sb3/ppo", "env=acrobot", "agent.policy_kwargs={net_arch: [8]}"],
        "model.zip has another observation_space: Box",
    ),
    "layers": (
        ["agent=sb3/ppo", "env=cartpole", "agent.policy_kwargs={net_arch: [9]}"],
        r"policy\.mlp_extractor\.policy_net\.0\.weight is \(8, 4\) there, \(9, 4\) here",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named_and_nothing_is_left_behind(trained, case, tmp_path):
    words, message = REFUSED[case]
    initial = f"agent.init_from={trained.path.parent / 'model.zip'}"
    with pytest.raises(Mistake, match=message):
        gym_loop.run(*words, initial, "loop.max_steps=9", directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_there_names_the_nearest(trained, tmp_path):
    initial = f"agent.init_from={trained.path.parent / 'modle.zip'}"
    with pytest.raises(Mistake, match=r"there is no .*modle\.zip; did you mean 'model\.zip'"):
        gym_loop.run(*QUICK, initial, directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_in_a_folder_that_looks_like_an_interpolation_is_found(trained, tmp_path):
    (tmp_path / "a${b}").mkdir()
    shutil.copy(trained.path.parent / "model.zip", tmp_path / "a${b}")
    initial = f"agent.init_from={tmp_path}/a\\${{b}}/model.zip"
    run = gym_loop.run(*QUICK, initial, directory=tmp_path / "new")
    assert run.state == "finished"


def test_a_fork_cannot_begin_with_other_networks(trained, tmp_path):
    with pytest.raises(Mistake, match=r"init_from was None .* cannot change in a fork"):
        gym_loop.fork(
            trained,
            f"agent.init_from={trained.path}",
            "loop.max_steps=200",
            directory=tmp_path / "f",
        )


EXPORTS = {
    "model.onnx": (["env=cartpole"], "RandomAgent has no format of its own"),
    "model.zip": (["env=cartpole"], "RandomAgent has no format of its own"),
}


@pytest.mark.parametrize("target", EXPORTS)
def test_an_agent_without_the_format_says_which_it_has(target, as_a_child, tmp_path):
    words, message = EXPORTS[target]
    run = gym_loop.run(*words, "loop.max_episodes=1", directory=tmp_path / "run")
    (folder := tmp_path / "here").mkdir()
    done = as_a_child(["export", str(run.path), target], folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
