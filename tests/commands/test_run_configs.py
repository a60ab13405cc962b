"""A run config is read as conf/ is, and `train` takes what `create-default` writes."""

import json

AGENT = """
from gym_loop.agents import RandomAgent

DEFAULTS = {
    "on": 1, "no": "off", "null": 3, "y": None, "1": 2, "a b": "1e-3", "#c": "x # y",
    "rate": 1e-5, "day": "2026-02-03", "layers": [8, {"no": "yes"}], "pair": (1, "2"),
    "long": "word " * 50, "lines": "a\\n b\\n", "quote": "it's: \\"so\\"", "empty": {},
    "apart": "a\\u2028b\\x85c", "a\\u2029b": 1,
    "dollar": "${x}", "escaped": ["\\\\${x}", {"${y}": "a ${y"}],
}

class Odd(RandomAgent):
    @staticmethod
    def get_default_parameters():
        '''Return the parameters.

        Parameters:
            on: a comment
            long: another one
            layers: a third
        '''
        return DEFAULTS
"""


def config_of(folder, done):
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "run" / "run.json").read_text())["config"]


def test_train_takes_what_create_default_writes(tmp_path, as_a_child):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "odd.py").write_text(AGENT)
    words = ["--agent", "odd.py:Odd", "--env", "CartPole-v1", "--run-config", "odd.yaml"]
    assert as_a_child(["create-default", *words], folder).returncode == 0
    done = as_a_child(["train", "-c", "odd.yaml", "hydra.run.dir=run"], folder)
    agent = config_of(folder, done)["agent"]
    del agent["_target_"]
    names = {}
    exec(AGENT, names)
    assert agent == json.loads(json.dumps(names["DEFAULTS"]))


def test_create_default_takes_options_by_their_names(tmp_path, as_a_child):
    folder = tmp_path / "work"
    (folder / "conf" / "env").mkdir(parents=True)
    mine = "_target_: gym_loop.envs.make_gym\nid: FrozenLake-v1\nkwargs: {is_slippery: false}\n"
    (folder / "conf" / "env" / "mine.yaml").write_text(mine)
    words = ["--agent", "q_learning", "--env", "mine", "--run-config", "run.yaml"]
    done = as_a_child(["create-default", *words], folder)
    assert done.returncode == 0, done.stderr
    done = as_a_child(["train", "-c", "run.yaml", "hydra.run.dir=run"], folder)
    config = config_of(folder, done)
    assert config["agent"]["_target_"].endswith("QLearning")
    assert config["env"]["kwargs"] == {"is_slippery": False}


def test_a_value_is_the_same_in_a_run_config_and_in_conf(tmp_path, as_a_child):
    folder = tmp_path / "work"
    (folder / "conf" / "agent").mkdir(parents=True)
    (folder / "odd.py").write_text(AGENT)
    values = "_target_: odd.Odd\nrate: 2e-4\nlayers: [1e-3, 5E2, on, 2026-02-03]\nday: 2026-03-04\n"
    values += "empty: {<<: {a: 1, b: 2}, a: 3}\n"
    (folder / "conf" / "agent" / "mine.yaml").write_text(values)
    words = ["env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=0", "hydra.run.dir=run"]
    there = config_of(folder, as_a_child(["agent=mine", *words], folder))["agent"]
    section = "".join(f"  {line}\n" for line in values.splitlines())
    (folder / "mine.yaml").write_text(
        f"agent:\n{section}env: {{_target_: gym_loop.envs.make_gym, id: CartPole-v1}}\n"
        "loop: {_target_: gym_loop.loops.DefaultLoop}\n"
    )
    done = as_a_child(["train", "-c", "mine.yaml", *words[1:-1], "hydra.run.dir=again"], folder)
    assert done.returncode == 0, done.stderr
    here = json.loads((folder / "again" / "run.json").read_text())["config"]["agent"]
    assert {key: here[key] for key in there} == there
    assert there["layers"] == [0.001, 500.0, True, "2026-02-03"]
    assert there["empty"] == {"a": 3, "b": 2}
