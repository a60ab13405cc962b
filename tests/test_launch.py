import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import gym_loop
from gym_loop.mistake import Mistake
from tests.conftest import AGENTS, rows

FAST = ("env=cartpole", "loop.eval_episodes=1")


@pytest.mark.slow
def test_a_run_leaves_a_directory_of_its_own_behind(cli, tmp_path):
    done = cli("agent=random", "env=pendulum")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (directory,) = (tmp_path / "outputs").glob("[!.]*/*")
    made = {str(p.relative_to(directory)) for p in directory.rglob("*")}
    assert made >= {
        *("run.json", "episodes.csv", "evaluations.csv", ".hydra/config.yaml"),
        *("checkpoints/latest", "checkpoints/episode-000005/state.json", "logs", "eval_logs"),
    }
    summary = done.stdout.splitlines()
    assert len(summary) == 3
    assert summary[0].startswith("finished: 5 episodes, 1000 steps")
    assert summary[2] == f"run: {directory.relative_to(tmp_path)}"


@pytest.mark.slow
def test_the_program_is_the_same_by_module_and_by_console_script(tmp_path):
    script = Path(sys.executable).with_name("gym-loop")
    for words in ([], ["--help"], ["resume"], ["env=pendulm"], ["trian"]):
        results = [
            subprocess.run([*program, *words], cwd=tmp_path, capture_output=True, check=False)
            for program in ([str(script)], [sys.executable, "-m", "gym_loop"])
        ]
        assert len({(r.returncode, r.stdout, r.stderr) for r in results}) == 1, words


def test_a_launch_imports_nothing_that_it_does_not_use(tmp_path):
    words = ["-X", "importtime", "-m", "gym_loop", *FAST, "loop.max_episodes=1"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    idle = {"numpy.ma", "statistics", "multiprocessing.connection", "gym_loop.vector.loop"}
    idle |= {"torch", "gymnasium", "pygame", "optuna", "gym_loop.search.sweeper"}
    assert imported & {"gym", "gym_loop.loops.default_loop"} and not imported & idle


def test_overrides_reach_the_run(launch):
    directory = launch(*FAST, "loop.max_episodes=3", "seed=7")
    run = json.loads((directory / "run.json").read_text())
    assert len(rows(directory)) == 3
    assert (run["seed"], run["config"]["loop"]["max_episodes"]) == (7, 3)
    assert "seed=7" in run["overrides"]


@pytest.mark.slow
def test_one_seed_fixes_everything(launch):
    words = (f"agent={AGENTS}:Learner", *FAST, "loop.max_episodes=20")
    first, second = (launch(*words, "seed=4", directory=name) for name in ("a", "b"))
    other = launch(*words, "seed=5", directory="c")
    assert rows(first) == rows(second) != rows(other)
    assert rows(first, "evaluations.csv") == rows(second, "evaluations.csv")


@pytest.mark.parametrize("option", ["{file}:Plain", "sample_agents:Plain"])
def test_an_agents_class_is_an_option(child, tmp_path, option):
    (tmp_path / "sample_agents.py").write_text(AGENTS.read_text())
    option = option.format(file="sample_agents.py")
    done = child(f"agent={option}", *FAST, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run")) == 5


def test_a_class_brings_its_parameters_as_keys_that_are_checked(launch):
    directory = launch(f"agent={AGENTS}:Learner", *FAST, "agent.lr=0.5", "agent.capacity=9")
    agent = json.loads((directory / "run.json").read_text())["config"]["agent"]
    assert (agent["lr"], agent["capacity"]) == (0.5, 9)
    with pytest.raises(Mistake, match="lrr"):
        launch(f"agent={AGENTS}:Learner", *FAST, "agent.lrr=0.5", directory="other")


def test_an_argument_is_built_by_a_class_of_a_file(launch, tmp_path):
    (tmp_path / "parts.py").write_text(
        f"{AGENTS.read_text()}\n\nclass Decay:\n"
        "    def __init__(self, start):\n        self.start = start\n\n\n"
        "class Decaying(Plain):\n"
        "    get_default_parameters = staticmethod(lambda: {'decay': None})\n"
        "    def metrics(self, episode_num):\n"
        "        return {'start': self.parameters['decay'].start}\n"
    )
    decay = "agent.decay={_target_: parts.py:Decay, start: 0.25}"
    directory = launch("agent=parts.py:Decaying", decay, *FAST, "loop.max_episodes=1")
    assert gym_loop.Run(directory).metrics("agent/start")[1].tolist() == [0.25]


@pytest.mark.parametrize("words", [(), ("-m", "seed=0,1", "hydra.sweep.dir=run")])
def test_a_config_of_ones_own_need_not_list_what_its_class_takes(launch, tmp_path, words):
    (tmp_path / "conf/agent").mkdir(parents=True)
    (tmp_path / "conf/agent/mine.yaml").write_text(f"_target_: {AGENTS}:Learner\nlr: 0.2\n")
    directory = launch("agent=mine", *FAST, "agent.capacity=9", *words)
    for run in directory.glob("**/run.json"):
        agent = json.loads(run.read_text())["config"]["agent"]
        assert (agent["lr"], agent["capacity"]) == (0.2, 9)
    with pytest.raises(Mistake, match=r"no key 'agent.capacty'.*did you mean 'agent.capacity'"):
        launch("agent=mine", *FAST, "agent.capacty=9", directory="other")


def test_a_loops_class_is_an_option(launch, tmp_path):
    (tmp_path / "my_loop.py").write_text(
        "from gym_loop.loops import DefaultLoop\n"
        "class Twice(DefaultLoop):\n"
        "    def train(self):\n"
        "        super().train()\n"
        "        self.parameters['max_episodes'] *= 2\n"
        "        super().train()\n"
    )
    directory = launch("loop=my_loop.py:Twice", *FAST, "loop.max_episodes=2")
    assert len(rows(directory)) == 4


def test_a_loop_that_names_no_directories_has_those_of_ours(launch, tmp_path):
    (tmp_path / "my_loop.py").write_text(
        "from gym_loop.loops import DefaultLoop\n"
        "class Few(DefaultLoop):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'max_episodes': 2, 'max_steps': None, 'max_episode_len': 9,\n"
        "                'random_episodes': 0, 'eval_episodes': 1}\n"
        "    @staticmethod\n"
        "    def check_parameters(parameters): pass\n"
    )
    directory = launch("env=cartpole", "loop=my_loop.py:Few")
    run = gym_loop.Run(directory)
    assert (directory / "logs").is_dir()
    assert (directory / "eval_logs").is_dir()
    assert len(run.metrics("train/return")[0]) == 2
    assert len(run.metrics("eval/return")[0]) == 1
    assert gym_loop.evaluate(run).shape == (1,)


def test_an_environments_class_is_an_option_with_its_constructors_keys(launch, tmp_path):
    (tmp_path / "my_env.py").write_text(
        "import gym\n"
        "class Count(gym.Env):\n"
        "    observation_space = action_space = gym.spaces.Discrete(3)\n"
        "    def __init__(self, length=4): self.length = length\n"
        "    def reset(self, seed=None, options=None):\n"
        "        self.n = 0\n"
        "        return 0, {}\n"
        "    def step(self, action):\n"
        "        self.n += 1\n"
        "        return 0, 1.0, self.n == self.length, False, {}\n"
    )
    directory = launch("env=my_env.py:Count", "env.length=6", "loop.eval_episodes=1")
    assert {row["length"] for row in rows(directory)} == {"6"}


@pytest.mark.parametrize("option", ["gym:Acrobot-v1", "gymnasium:CartPole-v1"])
def test_an_environments_id_is_an_option(launch, option):
    if option.startswith("gymnasium"):
        pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    directory = launch(f"env={option}", "loop.max_episodes=1", "loop.eval_episodes=0")
    assert json.loads((directory / "run.json").read_text())["config"]["env"]["id"] in option


def test_env_imports_makes_a_package_that_registers_when_imported_work(child, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from gym.envs.registration import register\n"
        "register('Mine-v0', entry_point='gym.envs.classic_control:CartPoleEnv',"
        " max_episode_steps=5)\n"
    )
    words = ("env=gym", "env.id=Mine-v0", "loop.eval_episodes=1", "hydra.run.dir=run")
    assert child(*words, "env.imports=[mine]").returncode == 0
    assert max(int(row["length"]) for row in rows(tmp_path / "run")) <= 5


def test_env_kwargs_reach_the_environment(launch):
    light, heavy = (
        launch("env=pendulum", f"env.kwargs.g={g}", "loop.eval_episodes=0", directory=f"g{g}")
        for g in (1, 10)
    )
    assert rows(light) != rows(heavy)


def test_the_users_conf_is_composed_with_ours(launch, tmp_path):
    (tmp_path / "conf" / "agent").mkdir(parents=True)
    option = {"_target_": f"{AGENTS}:Learner", "lr": 0.25, "capacity": 10}
    (tmp_path / "conf" / "agent" / "mine.yaml").write_text(yaml.safe_dump(option))
    directory = launch("agent=mine", *FAST)
    assert json.loads((directory / "run.json").read_text())["config"]["agent"]["lr"] == 0.25


@pytest.mark.slow
def test_a_users_config_and_preset_choose_an_option_in_a_folder(launch, tmp_path):
    for name, content in {
        "agent/mine/fast.yaml": "_target_: gym_loop.agents.RandomAgent\n",
        "experiment/quick.yaml": "# @package _global_\n"
        "defaults:\n  - override /agent: mine/fast\n  - override /env: cartpole\n"
        "loop: {max_episodes: 2, eval_episodes: 1}\n",
        "whole.yaml": "defaults: [{agent: mine/fast}, {env: cartpole}, {loop: default},"
        " {observers: default}, _self_]\nseed: 0\nloop: {max_episodes: 2, eval_episodes: 1}\n",
    }.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(content)
    preset = launch("+experiment=quick")
    run = json.loads((preset / "run.json").read_text())
    assert (len(rows(preset)), run["config"]["env"]["id"]) == (2, "CartPole-v1")
    for i, words in enumerate([("+experiment=quick",), ("--config-name", "whole")]):
        for j, other in enumerate([(), ("agent=random",)]):
            assert rows(launch(*words, *other, directory=f"{i}{j}")) == rows(preset)


def test_fifty_launches_in_one_second_make_fifty_directories(tmp_path, monkeypatch):
    from omegaconf import OmegaConf

    from gym_loop.runs.claim import claim

    monkeypatch.chdir(tmp_path)
    made = set()
    for _ in range(50):
        hydra = {"mode": None, "run": {"dir": "outputs/now"}, "overrides": {"hydra": []}}
        hydra |= {"job": {"name": "gym_loop"}, "output_subdir": ".hydra"}
        cfg = OmegaConf.create({"hydra": hydra})
        claim(cfg)
        made.add(cfg.hydra.run.dir)
    assert len(made) == len(list((tmp_path / "outputs").iterdir())) == 50


def test_what_the_run_returns_is_the_mean_return_of_the_final_evaluation(tmp_path, monkeypatch):
    from gym_loop.launch import launch

    monkeypatch.chdir(tmp_path)
    result = launch(["env=cartpole", "loop.eval_episodes=4", "hydra.run.dir=run"])
    returns = [float(row["return"]) for row in rows("run", "evaluations.csv")]
    assert result == sum(returns) / 4 == json.loads(Path("run/run.json").read_text())["result"]


def test_a_fault_in_the_users_agent_shows_their_frame_and_keeps_what_was_logged(child, tmp_path):
    done = child(f"agent={AGENTS}:Raises", *FAST, "hydra.run.dir=run")
    assert done.returncode == 1
    assert "no idea what to do" in done.stderr
    first = next(line for line in done.stderr.splitlines() if line.startswith("  File"))
    assert "sample_agents.py" in first
    assert "hydra" not in done.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["state"], run["error"]) == ("failed", "ValueError: no idea what to do")
    assert "no idea what to do" in (tmp_path / "run" / "gym_loop.log").read_text()
    assert len(rows(tmp_path / "run")) == 3


INTERRUPTED = """
import os, signal, time
from gym_loop.agents import RandomAgent
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    {then}

class Agent(RandomAgent):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["pass", "raise AttributeError('_inv')", "exit(2)"])
@pytest.mark.parametrize("words", [[], ["-m", "seed=1,2"]])
def test_a_ctrl_c_that_a_library_loses_before_anything_starts_is_heard(cli, tmp_path, then, words):
    (tmp_path / "my_agent.py").write_text(INTERRUPTED.format(then=then))
    done = cli(*words, "agent=my_agent.py:Agent", *FAST)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert not [*tmp_path.rglob("run.json")]


LOGS_WHAT_NO_ENCODING_HAS = """
import logging
from gym_loop.agents import RandomAgent

class Logs(RandomAgent):
    def begin_episode(self, episode_num):
        logging.getLogger(__name__).warning("read %s", chr(0xD800) + chr(0xE9))
"""


def test_a_text_that_cannot_be_encoded_is_in_the_log_all_the_same(cli, tmp_path):
    (tmp_path / "logs.py").write_text(LOGS_WHAT_NO_ENCODING_HAS)
    done = cli("agent=logs.py:Logs", *FAST, "hydra.run.dir=run", environment={"LC_ALL": "C"})
    assert (done.returncode, "Logging error" in done.stderr) == (0, False)
    assert "read \\ud800é" in (tmp_path / "run" / "gym_loop.log").read_text("utf-8")


def test_hydra_full_error_shows_every_frame(cli):
    words = (f"agent={AGENTS}:Raises", *FAST)
    done = cli(*words, environment={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert "launch.py" in done.stderr


def test_show_config_and_help_start_nothing(child, tmp_path):
    config = child("env=cartpole", "--cfg", "job")
    assert yaml.safe_load(config.stdout)["env"]["id"] == "CartPole-v1"
    assert "pendulum" in child("--help").stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_runs_every_combination(cli, tmp_path):
    done = cli("-m", "seed=0,1", "env=pendulum,cartpole", "loop.eval_episodes=1")
    assert done.returncode == 0, done.stderr
    found = {
        (run["seed"], run["config"]["env"]["id"])
        for run in map(json.loads, (f.read_text() for f in tmp_path.rglob("run.json")))
    }
    assert found == {(s, e) for s in (0, 1) for e in ("Pendulum-v1", "CartPole-v1")}


def test_completion_of_the_console_script_offers_options(tmp_path):
    script = Path(sys.executable).with_name("gym-loop")
    line = "gym-loop env=pend"
    done = subprocess.run(
        [str(script), "-sc", "query=bash"],
        cwd=tmp_path,
        env={**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "env=pendulum" in done.stdout.split()


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_without_episodes_to_evaluate_there_is_no_environment_for_them(launch, tmp_path, loop):
    (tmp_path / "counted.py").write_text(
        "from gym import Env, spaces\n"
        "class Counted(Env):\n"
        "    observation_space = action_space = spaces.Discrete(2)\n"
        "    def __init__(self):\n"
        "        print('made', file=open('made.txt', 'a'))\n"
        "    def reset(self, seed=None, options=None):\n"
        "        return 0, {}\n"
        "    def step(self, action):\n"
        "        return 0, 1.0, True, False, {}\n"
    )
    words = ["agent=random", "env=counted.py:Counted", f"loop={loop}", "loop.max_episodes=4"]
    words += ["loop.num_envs=1"] if loop == "vector" else []
    launch(*words, "loop.eval_episodes=0", "loop.episodes_per_eval=2")
    assert (tmp_path / "made.txt").read_text() == "made\n"


@pytest.mark.slow
def test_what_a_long_launch_has_made_is_freed_before_the_process_ends(cli, tmp_path):
    (tmp_path / "held.py").write_text(
        "import atexit, gc, time, weakref\n"
        "from gymnasium import Env, spaces\n"
        "made = []\n"
        "atexit.register(lambda: print('left:', sum(each() is not None for each in made)))\n"
        "class Held(Env):\n"
        "    observation_space = action_space = spaces.Discrete(2)\n"
        "    def __init__(self):\n"
        "        self.itself = self\n"
        "        made.append(weakref.ref(self))\n"
        "    def reset(self, seed=None, options=None):\n"
        "        return 0, {}\n"
        "    def step(self, action):\n"
        "        time.sleep(1), gc.collect()  # what is there becomes old\n"
        "        return 0, 1.0, True, False, {}\n"
    )
    done = cli("agent=random", "env=held.py:Held", "loop.max_episodes=2", "loop.eval_episodes=1")
    assert "left: 0" in done.stdout, done.stderr
