"""Mistakes are named before anything starts: a table of them, one row each.

Every row asserts the exit code, that stderr is exactly one line which names what was got and what
is nearest, and that nothing was left behind. Rows run in a child of this process, so that what
takes time to import is imported once; `pytest -m slow` runs them as a user does, against the clock.
"""

import importlib.util
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gym_loop import launch
from gym_loop import mistake as mistakes
from gym_loop.checks import config

COMMANDS = {p.stem.replace("_", "-") for p in (launch.PACKAGE / "commands").glob("[a-z]*.py")}
SCIPY = importlib.util.find_spec("scipy") is not None
GYMNASIUM = importlib.util.find_spec("gymnasium") is not None
ERRORS = Path(__file__).parents[1] / "docs" / "errors.md"
SECONDS = 2  # beyond the start of the interpreter

AGENTS = """
import numpy as np
from gym_loop.agents import BaseAgent, RandomAgent

class Mine(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"lr": 0.1, "layers": [8, 8], "hidden": 64, "name": "mine", "greedy": False}

    @staticmethod
    def check_parameters(parameters):
        if not 0 < parameters["lr"] < 1:
            raise ValueError(f"lr is {parameters['lr']}; expected between 0 and 1")

class NoAct(BaseAgent):
    def memorize(self, *transition): ...
    def update(self, episode_num): ...

class OfInstance(BaseAgent):
    def get_default_parameters(self):
        return {"lr": 0.1}

class Bare:
    pass

class ReturnsNone(RandomAgent):
    def act(self, state, episode_num): ...

class OutOfSpace(RandomAgent):
    def act(self, state, episode_num):
        return 7

class SaveRaises(RandomAgent):
    def save(self, directory):
        raise RuntimeError("no save today")

class SaveFails(RandomAgent):
    def save(self, directory):
        raise OSError("no such luck")

class SaveOnly(RandomAgent):
    def save(self, directory):
        (directory / "weights").write_text("1")

class WordMetric(RandomAgent):
    def metrics(self, episode_num):
        return {"loss": "low"}

class ListMetrics(RandomAgent):
    def metrics(self, episode_num):
        return [1]

class ActRaises(RandomAgent):
    def act(self, state, episode_num):
        return {}["q"]

number = 3

class Both(Mine):
    def __init__(self, observation_space, action_space, lr=None, **parameters):
        super().__init__(observation_space, action_space, **parameters)
"""
ENVS = """
import gym
import numpy as np

class Fine(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, size: int = 3, render_mode=None): ...

    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, True, {}

class ResetRaises(Fine):
    def reset(self, seed=None, options=None):
        raise RuntimeError("no reset today")

class OldStep(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, {}

class HalfOldReset(Fine):
    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32)

class NoReward(Fine):
    count = 0

    def step(self, action):
        self.count += 1
        return np.zeros(2, np.float32), None if self.count == 3 else 0.0, False, self.count > 5, {}

class Blind(Fine):
    def __init__(self): ...

class OldReset(Fine):
    def reset(self):
        return np.zeros(2, np.float32)

class NeedsSize(Fine):
    def __init__(self, size, render_mode=None): ...

class LongStep(Fine):
    def step(self, action):
        return (*super().step(action), {}, {})

class NoStep(Fine):
    def step(self, action): ...

class Flags(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, np.zeros(3, bool), False, {}

class ListOfFlags(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, [False, False], False, {}

def a_pair():
    return Fine(), None

class LoneReset(Fine):
    def reset(self, seed=None, options=None):
        return 0.5

class Crowd:
    possible_agents = ["a", "b"]
    def observation_space(self, agent): ...
    def action_space(self, agent): ...
    def reset(self, seed=None, options=None): ...
    def step(self, actions): ...

class Functional:
    def observation_space(self, params): ...
    def action_space(self, params): ...
    def reset(self, key): ...
    def step(self, key, state, action): ...
"""
RUN_CONFIG = """\
agent:
  _target_: gym_loop.agents.RandomAgent
env:
  _target_: gym_loop.envs.make_gym
  id: CartPole-v1
loop:
  _target_: gym_loop.loops.DefaultLoop
  max_episodes: 2
"""


def edited(old, new):
    assert old in RUN_CONFIG
    return RUN_CONFIG.replace(old, new)


@pytest.fixture(scope="module")
def files(tmp_path_factory, as_a_child):
    """What rows find in their folder: agents, environments, configs, a finished run, a damaged one.

    Each row gets a copy.
    """
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in {
        "agents.py": AGENTS,
        "envs.py": ENVS,
        "imports_nothing.py": "import no_such_package\n",
        "broken.py": "class Mine(:\n",
        "empty.py": "",
        "run.yaml": RUN_CONFIG,
        "slip.yaml": edited("  max_episodes: 2", "  max_episodes: [2"),
        "tab.yaml": edited("  id: CartPole-v1", "\tid: CartPole-v1"),
        "list.yaml": "- agent\n- env\n",
        "nothing.yaml": "",
        "old.yaml": edited("  _target_: gym_loop.agents.RandomAgent", "  class: RandomAgent"),
        "no_loop.yaml": RUN_CONFIG[: RUN_CONFIG.index("loop:")] + "lop: {}\n",
        "key.yaml": edited("max_episodes", "max_episode"),
        "top.yaml": RUN_CONFIG + "sede: 3\n",
        "type.yaml": edited("max_episodes: 2", "max_episodes: two"),
        "number.yaml": edited("_target_: gym_loop.agents.RandomAgent", "_target_: 3"),
        "circle.yaml": edited(
            "max_episodes: 2", "max_episodes: ${loop.max_steps}\n  max_steps: ${loop.max_episodes}"
        ),
        "doubled.yaml": RUN_CONFIG + "  max_episodes: 3\n",
        "number_alone.yaml": "3\n",
        "conf/agent/set.yaml": "_target_: agents.Mine\nlr: 0.1\nlayers: !!set {a, b}\n",
        "conf/agent/none.yaml": "_target_: agents.Mine\nlayers: {~: 1}\n",
        "conf/agent/twice.yaml": "_target_: agents.Mine\nlr: 0.1\nlr: 0.2\n",
        "conf/agent/half.yaml": '_target_: agents.Mine\nlayers: [{"\\ud800": "\\udcff"}]\n',
        "conf/agent/number_twice.yaml": "_target_: agents.Mine\nlayers: [{1: a, 1: b}]\n",
        "conf/agent/thousand.yaml": "_target_: agents.Mine\nlayers: [{1e3: a, 1000.0: b}]\n",
        "conf/agent/one_is_true.yaml": "_target_: agents.Mine\nlayers: [{1: a, true: b}]\n",
        "number_twice.yaml": edited("  max_episodes: 2", "  max_time: {2: a, 2: b}"),
        "text.txt": "hello\n",
        "wraps.yaml": edited("env:", "wrap: [flatten]\nenv:"),
        "chooses.yaml": edited("env:", "defaults: [override /wrap: [flatten]]\nenv:"),
        "conf/agent/mine.yaml": "_target_: agents.Mine\nlr: 0.1\nlayer: [3]\n",
        "conf/agent/slip.yaml": "_target_: agents.Mine\nlr: [0.1\n",
        "conf/agent/scalar.yaml": "3\n",
        "conf/agent/nothing.yaml": "lr: 3\n",
        "conf/agent/target.yaml": "target: agents.Mine\n",
        "conf/agent/takes.yaml": "defaults: [arss]\n",
        "conf/agent/bell.yaml": "_target_: agents.Mine\nname: \x07\n",
        "conf/agent/high.yaml": "_target_: agents:Mine\nlr: 3.0\n",
        "conf/experiment/local.yaml": "defaults:\n  - override /agent: mine\n",
        "conf/experiment/below.yaml": "# @package _global_\ndefaults:\n  - agent: mine\n",
        "conf/experiment/wraps.yaml": "# @package _global_\nwrap: [flatten]\n",
        "damaged/run.json": '{"state": "fini',
        "hollow/run.json": '{"state": "finished", "config": {"agent": 3}}',
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00agent")
    latin = b"_target_: agents.Mine\nname: gr\xfcn\n"
    (folder / "conf" / "agent" / "latin.yaml").write_bytes(latin)
    words = ["env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=1", "hydra.run.dir=run"]
    done = as_a_child(words, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(files, tmp_path):
    return shutil.copytree(files, tmp_path / "work", symlinks=True)


@pytest.fixture(scope="module")
def unchanged(files):
    """A copy for the rows that leave it as it is; made anew after one that does not."""
    kept = files.with_name("unchanged")
    before = listing(files)

    def check():
        try:
            assert listing(kept) == before
        except AssertionError:
            shutil.rmtree(kept)
            shutil.copytree(files, kept, symlinks=True)
            raise

    shutil.copytree(files, kept, symlinks=True)
    return kept, check


def listing(folder):
    """Every path below `folder`, with the bytes of files; what Python caches aside."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def row(line, *expected):
    """A mistaken command line, and what the one line on stderr has to say."""
    words = line if isinstance(line, list) else line.split()
    return pytest.param(words, expected, id=" ".join(words) or "(empty)")


def without(package, *rows):
    """Rows for where a package is not installed."""
    return () if importlib.util.find_spec(package) else rows


def within(package, *rows):
    """Rows for where a package is installed."""
    return rows if importlib.util.find_spec(package) else ()


def search(line, *expected):
    """A row for a search of ARS on CartPole, with evaluations in between."""
    fixed = "-m hydra/sweeper=search agent=ars env=cartpole loop.episodes_per_eval=2 "
    return row(fixed + line, *expected)


X = "agent.noise=interval(0.1,1)"
SEARCHES = [
    search("", "an empty space", "agent.learning_rate="),
    search("agent.noise=interval(5,1)", "agent.noise=interval(5,1)", "low, then high"),
    search("env=glob(cat*)", "env=glob(cat*) has no value", "one of acrobot, "),
    search("agent.noise=tag(log,interval(0,1))", "agent.noise=tag(log", "above 0"),
    search("agent.noise=interval(-0.5,1)", "agent.noise is -0.5", "above 0"),
    search("agent.noises=interval(0.1,1)", "no key 'agent.noises'", "'agent.noise'?"),
    search("agent.directions=choice(8,x)", "agent.directions is 'x'", "an integer"),
    search(f"{X} loop.episodes_per_eval=null", "pruner=asha", "set loop.episodes_per_eval"),
    search(f"{X} loop.eval_episodes=0", "objective=evaluation", "loop.eval_episodes is 0"),
    search(f"{X} hydra.sweeper.seeds=0", "hydra.sweeper.seeds=0", "at least 1"),
    search(f"{X} hydra.sweeper.seeds=[1,1]", "hydra.sweeper.seeds=[1, 1]", "a list"),
    search(f"{X} hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0", "from 1"),
    search(f"{X} hydra.sweeper.n_trial=3", "no key 'hydra.sweeper.n_trial'", "n_trials'?"),
    search(f"{X} hydra.sweeper.pruner=ahsa", "pruner=ahsa", "'asha'?"),
    search(f"{X} hydra.sweeper.sampler=tep", "sampler=tep", "'tpe'?"),
    search(f"{X} hydra.sweeper.objective=evaluatio", "objective=evaluatio", "'evaluation'?"),
    search(f"{X} hydra.sweeper.direction=up", "direction=up", "maximize, minimize"),
    search(f"{X} hydra.sweeper.enqueue=[{{agent.noise:7}}]", "agent.noise is 7", "interval"),
    search(f"{X} hydra.sweeper.enqueue=[{{agent.nose:1}}]", "agent.nose is not in", "noise'?"),
    search(f"{X} hydra.sweeper.space=agents.py:Bare", "two spaces"),
    search("hydra.sweeper.space=agents.py:space", "agents.py has no 'space'"),
    search(f"{X} seed=1,2", "hydra.sweeper.seeds"),
    search(f"{X} hydra/launcher=basic", "BasicLauncher", "hydra/launcher=pool"),
    search(f"{X} hydra.sweep.subdir=x", "hydra.sweep.subdir=x", "leave it out"),
    search(
        f"{X} hydra.sweeper.pruner={{_target_:optuna.pruners.WilcoxonPruner}}",
        *("hydra.sweeper.seeds=3: WilcoxonPruner", "seed by seed", "at least 5 seeds"),
    ),
]
MISTAKES = [
    # keys
    row("loop.max_episode=3", "no key 'loop.max_episode'", "'loop.max_episodes'?"),
    row("+loop.max_episode=3", "no key 'loop.max_episode'", "'loop.max_episodes'?"),
    row("++loop.max_episode=3", "no key 'loop.max_episode'", "'loop.max_episodes'?"),
    row("agent=agents.py:Mine agent.Lr=1", "no key 'agent.Lr'", "'agent.lr'?"),
    row("agent=agents.py:Mine +agent.Lr=1", "no key 'agent.Lr'", "'agent.lr'?"),
    row("agent=agents.py:Both agent.lr=x", "agent.lr is 'x' (command line); expected a number"),
    row("loop.logdir=1 loop.logdir=2", "loop.logdir is 2", "loop.logdir='\"2\"'"),
    row("+env.idd=3", "no key 'env.idd'", "'env.id'?"),
    row("env.kwargs.gg=3", "no keyword argument 'gg'", "'g'?"),
    row("env=envs.py:Fine env.siz=3", "no key 'env.siz'", "'env.size'?"),
    row("agent.lr=3", "no key 'agent.lr'", "no parameter"),
    row("sed=3", "no key 'sed'", "'seed'?"),
    row("+sede=3", "no key 'sede'", "'seed'?"),
    row("loop.max_episodes.x=3", "loop.max_episodes is {'x': 3}", "expected an integer"),
    row("~loop.max_episode", "no key 'loop.max_episode'"),
    row("~loop", "loop is missing", "loop=default"),
    row("+seed=3", "'seed' is there already"),
    row("hydra.run.dirr=x", "no key 'hydra.run.dirr'", "'hydra.run.dir'?"),
    row("+observers.progres._target_=gym_loop.observers.progress.Progres", "no 'Progres'"),
    # options
    row("env=pendulm", "no env 'pendulm' (command line)", "'pendulum'?"),
    row("agent=radnom", "no agent 'radnom' (command line)", "'random'?"),
    row("loop=defalt", "no loop 'defalt' (command line)", "'default'?"),
    row("agnet=random", "no key 'agnet'", "'agent'?"),
    row("eval_en.kwargs.g=3", "no key 'eval_en' (command line)", "'eval_env'?"),
    row("env.wrapper.x=3", "no key 'env.wrapper' (command line)", "'env.wrappers'?"),
    row("wraps=[flatten]", "no key 'wraps'", "did you mean wrap=[...]?"),
    row("experiments=ars_cartpole", "no key 'experiments'", "did you mean +experiment=...?"),
    row("+experiments=ars_cartpole", "no key 'experiments'", "did you mean +experiment=...?"),
    row("+sinks=wandb", "no key 'sinks'", "did you mean +sink=...?"),
    row("env@eval_en=cartpole", "no 'eval_en' to choose an option of env for", "'eval_env'?"),
    row("agent=nothing_like_it_at_all", "no agent", "there are: ", "random"),
    row(
        "env=CartPole-v1",
        "no env 'CartPole-v1'",
        "env=gym:CartPole-v1" + GYMNASIUM * " or env=gymnasium:CartPole-v1",
    ),
    row("env=", "no env ''", "there are: "),
    row("env=3", "env=3"),
    row("env=null", "env=null"),
    row("+env=pendulum", "env is chosen twice", "leave out the +"),
    row(
        "-m env=cartpole agent=agents.py:Mine,ägents.py:Mine",
        "Hydra cannot read 'agents.py:Mine,ägents.py:Mine'",
        "quote each value that is to be taken as it is: \"agent='...','...'\"",
    ),
    row("-m env=pendulm,cartpole", "no env 'pendulm'", "'pendulum'?"),
    row("env=pendulum,cartpole", "several values", "-m"),
    # classes and files
    row("agent=agents.Mine", "no agent 'agents.Mine'", "agent=agents:Mine?"),
    row("agent=agents.py", "no agent 'agents.py'", "agent=agents.py:Mine or agent=agents.py:No"),
    row("agent=Mine", "no agent 'Mine'", "agent=agents.py:Mine?"),
    row("agent=agents.py:Mien", "no 'Mien'", "'Mine'?"),
    row("agent=agents:Mien", "no 'Mien'", "'Mine'?"),
    row("agent=agent.py:Mine", "no file agent.py", "'agents.py'?"),
    row("agent=agentss:Mine", "No module named 'agentss'", "did you mean 'agents'?"),
    row("agent=gym_loop.agnets:ARS", "'gym_loop.agnets'", "did you mean 'gym_loop.agents'?"),
    row("env=gymm:CartPole-v1", "No module named 'gymm'", "did you mean 'gym'?"),
    row("+observers.x._target_=agent.py:X", "no file agent.py", "'agents.py'?"),
    row("agent=conf:Mine", "no 'Mine'"),
    row("agent=conf.py:Mine", "no file conf.py"),
    row(
        "agent=imports_nothing.py:Mine", "No module named 'no_such_package'", "imports_nothing.py:1"
    ),
    row("agent=imports_nothing:Mine", "No module named 'no_such_package'", "imports_nothing.py:1"),
    row("agent=broken.py:Mine", "SyntaxError", "broken.py:1"),
    row("agent=agents.py:number", "a int", "expected a class"),
    row("agent=agents.py:", "names no class"),
    row("agent._target_=math.pi", "a float", "expected a class"),
    row("agent._target_=3", "agent._target_ is 3"),
    row(
        "env.wrappers.x=gym.wrappers.TimeLimit",
        "env.wrappers.x is 'gym.wrappers.TimeLimit' (command line)",
        "expected env.wrappers.x._target_=gym.wrappers.TimeLimit",
    ),
    row("observers.progress=nul", "observers.progress is 'nul' (command line)"),
    row("loop.max_episodes 5", "'loop.max_episodes' is no override", "expected key=value"),
    *within(
        "minigrid",
        row("env=minigrid:MiniGrid-X-v0", "did you mean env=gymnasium:minigrid:MiniGrid-X-v0?"),
    ),
    row("agent._target_=RandomAgent", "RandomAgent", "package.module:Class"),
    row("agent=agents.py:NoAct", "NoAct has no act()", "act, memorize, update"),
    row("agent=agents.py:Bare", "Bare has no act()", "act, memorize, update"),
    row("env=agents.py:Mine", "Mine has no reset()", "reset, step"),
    row("loop=agents.py:Bare", "Bare has no train()", "train, evaluate"),
    row("env=envs.py:NeedsSize", "env.size"),
    # environments
    row("env=gym", "env.id is not given", "env.id=CartPole-v1"),
    row("env=gym:CartPol-v1", "no environment 'CartPol-v1'", "'CartPole-v1'?"),
    row("env=gym:CartPole-v7", "no environment 'CartPole-v7'", "'CartPole-v1'"),
    row("env=gym env.id=Zzyzx-v0", "no environment 'Zzyzx-v0'", "env.imports"),
    row("env=Taxi-v3", "did you mean env=gym:Taxi-v3"),  # newer versions of Gymnasium have v4
    *within("gymnasium", row("env=Hopper-v5", "did you mean env=gymnasium:Hopper-v5?")),
    row("env=ALE/Pong-v5", "did you mean env=gymnasium:ALE/Pong-v5?"),
    row("env=gymnasium:CartPol-v1", "no environment 'CartPol-v1'", "'CartPole-v1'?"),
    row("env.imports=[agents.py]", "'agents.py' cannot be imported", "did you mean agents?"),
    row("env.imports=[no_such_package]", "No module named 'no_such_package'", "env.imports"),
    row("env.imports=no_such_package", "env.imports is 'no_such_package'", "a list"),
    row("env.kwargs=3", "env.kwargs is 3", "a mapping"),
    *within(
        "gymnasium",
        row(
            "env=gymnasium_vector env.id=CartPole-v1 env.mode=asink loop=vector",
            "env.mode is 'asink'; did you mean 'async'?",
        ),
        row(
            "env=gymnasium_vector env.id=Pendulum-v1 env.mode=vector_entry_point loop=vector",
            "Pendulum-v1 has no vector_entry_point: use env.mode=sync",
        ),
        row(
            "env=gymnasium_vector env.id=CartPole-v1 env.mode=sync env.vector_kwargs={coppy:1} "
            "loop=vector",
            "no key 'env.vector_kwargs.coppy'; did you mean 'copy'?",
        ),
    ),
    row("env.wrappers=3", "env.wrappers is 3 (command line)", "expected a mapping"),
    row("eval_env.wrappers=3", "eval_env.wrappers is 3 (command line)", "expected a mapping"),
    row(
        "env=gym:Hopper-v3",
        "Hopper-v3 cannot be made: No module named 'mujoco_py'; from v4 on they need mujoco",
    ),
    *without("cv2", row("env=cartpole wrap=[atari]", 'pip install "gym-loop[atari]"')),
    *without("minigrid", row("env.imports=[minigrid]", 'pip install "gym-loop[minigrid]"')),
    *without(
        "mujoco", row("env=gym:HalfCheetah-v4", "cannot be made", 'install "gym-loop[mujoco]"')
    ),
    *without(
        "stable_baselines3",
        row("env=gymnasium:CartPole-v1 wrap=[sb3_atari]", 'install "gym-loop[sb3]"'),
    ),
    *without("Box2D", row("env=gym:LunarLander-v2", "LunarLander-v2 cannot be made")),
    *within(
        "stable_baselines3",
        row(
            "agent=sb3/ppo env=cartpole agent.device=cud",
            "agent.device is 'cud' (command line); expected auto, cpu, cuda or cuda:0",
        ),
        row(
            "agent=sb3/ppo env=cartpole agent.policy=MlpPolicyy",
            "no policy 'MlpPolicyy'; did you mean 'MlpPolicy'?",
        ),
        row(
            "agent=sb3/ppo env=cartpole agent.n_envs=4",
            "agent.n_envs is 4, but the loop has 1 environment;",
            "loop=vector loop.num_envs=4",
        ),
        row(
            "agent=sb3/a2c env=cartpole agent.n_envs=2 loop=vector loop.num_envs=6",
            "agent.n_envs is 2, but the loop has 6 environments;",
        ),
        row(
            "agent=sb3/ppo env=cartpole agent.learning_rate=agents.rate",
            "learning_rate is 'agents.rate', which cannot be imported: module 'agents' has no",
            "did you mean agents.py:rate?",
        ),
    ),
    *without("envpool", row("env=envpool env.id=X-v1", 'pip install "gym-loop[envpool]"')),
    # values
    row("loop.max_episodes=abc", "loop.max_episodes is 'abc' (command line)", "an integer"),
    row("loop.max_episodes=-1", "loop.max_episodes is -1 (command line)", "at least 1"),
    row("loop.max_episodes=0", "loop.max_episodes is 0 (command line)", "at least 1"),
    row("loop.max_episodes=nan", "loop.max_episodes is nan", "not NaN"),
    row("loop.max_episodes=1.5", "loop.max_episodes is 1.5", "an integer"),
    row("loop.max_steps=1e-6", "loop.max_steps is 1e-06", "an integer"),
    row("agent=agents.py:Mine agent.name=1e3", "a string: agent.name='\"1e3\"'"),
    row("agent=agents.py:Mine agent.name=${seed}", "a string, which ${seed} is not"),
    row("loop.max_steps=many", "loop.max_steps is 'many'", "an integer"),
    row("loop.max_time=nan", "loop.max_time is nan", "not NaN"),
    row("loop.max_time=-3", "loop.max_time is -3", "at least 0"),
    row("loop.eval_episodes=-1", "loop.eval_episodes is -1", "at least 0"),
    row("loop.eval_episodes=null", "loop.eval_episodes is null", "an integer"),
    row("env=envs.py:Blind loop.record=true", "Blind cannot render", "leave out loop.record"),
    row("env=gym:CartPole-v1 +env.kwargs.render_mode=blah", "mode 'blah'", "human, rgb_array"),
    row("max_episodes=3", "no key 'max_episodes'", "did you mean 'loop.max_episodes'?"),
    row("+x=1", "no key 'x' (command line); expected one of agent, env, eval_env, hydra, loop"),
    row("loop.render=maybe", "loop.render is 'maybe'", "true or false"),
    row("loop.logdir=3", "loop.logdir is 3", "a string"),
    row("loop.max_episodes=[3]", "loop.max_episodes is [3]", "an integer"),
    row("loop.on_nan=explode", "loop.on_nan is 'explode'", "stop or warn"),
    row("seed=-1", "seed is -1", "0 or more"),
    row("seed=abc", "seed is 'abc'", "an integer"),
    row("seed=1.5", "seed is 1.5", "an integer"),
    row("seed=null", "seed is None", "an integer"),
    row("seed=1,2", "several values", "-m"),
    row(
        "-m seed=interval(0,1)", "grid sweeper does not take interval(...)", "hydra/sweeper=search"
    ),
    row("-m seed=range(3,1)", "seed=range(3,1) has no value", "at least one"),
    row("-m env=glob(cat*)", "env=glob(cat*) has no value", "one of acrobot, ", "cartpole"),
    row("-m seed=1,2 +hydra.launcher.n_job=3", "'hydra.launcher.n_job'", "'n_jobs'?"),
    row("-m seed=1,2 +hydra.sweeper.parms={}", "'hydra.sweeper.parms'", "'params'?"),
    *without("optuna", row("-m hydra/sweeper=search", 'pip install "gym-loop[search]"')),
    *(SEARCHES if importlib.util.find_spec("optuna") else ()),
    # what other libraries call it
    row("total_timesteps=1e6", "no key 'total_timesteps'", "here it is loop.max_steps"),
    row("+loop.n_envs=4", "no key 'loop.n_envs'", "loop.num_envs, of loop=vector alone"),
    row("agent=agents.py:Mine +agent.net_arch=[64]", "agent.policy_kwargs"),
    row("--n-timesteps 1000", "here it is loop.max_steps"),
    row("--agent random --env cartpole", "--agent", "write agent=..."),
    row("--max-episodes=3", "--max-episodes", "write loop.max_episodes=..."),
    row("agent=agents.py:Mine agent.lr=fast", "agent.lr is 'fast'", "a number"),
    row("agent=agents.py:Mine agent.lr=nan", "agent.lr is nan", "not NaN"),
    row("agent=agents.py:Mine agent.lr=3", "agent.lr is 3 (command line)", "between 0 and 1"),
    row("agent=agents.py:Mine agent.hidden=6.5", "agent.hidden is 6.5", "an integer"),
    row("agent=agents.py:Mine agent.layers=8", "agent.layers is 8", "a list"),
    row("agent=agents.py:Mine agent.greedy=1", "agent.greedy is 1", "true or false"),
    row("-m loop.max_episodes=1,x", "loop.max_episodes", "'x'", "an integer"),
    row("-m agent=random,agents.py:Mien", "no 'Mien'", "'Mine'?"),
    row("-m seed=1,x", "seed is 'x'", "an integer"),
    row("-m seed=1,2 +loop.max_episode=3", "'loop.max_episode'", "'loop.max_episodes'?"),
    row("-m seed=1,2 hydra.sweep.dir=text.txt", "text.txt is a file"),
    row("-m hydra/launcher=jobblib", "no hydra/launcher 'jobblib'"),
    # grammar and interpolation
    row("loop.max_episodes=[1", "'[1'", "command line"),
    row(["seed=a b="], "'seed=a b='"),
    row("env.kwargs={a:1,a:2}", "'env.kwargs={a:1,a:2}' (command line): found duplicate key a"),
    row("-m seed=1,2 +agent.x={1:a},[{b:{1:a,true:b}}]", "found duplicate key True"),
    row(["seed 3"], "no command 'seed 3'"),
    row("=3", "=3"),
    row([""], "empty"),
    row("seed=${sede}", "Interpolation key 'sede' not found", "'seed'?"),
    row("seed=${seed}", "seed is ${seed}", "back to itself"),
    row("loop.max_steps=${loop.max_time} loop.max_time=${loop.max_steps}", "back to itself"),
    row("hydra.run.dir=${nowhere}", "nowhere"),
    row("--confg", "--confg", "'--cfg'?"),
    row("-c", "expected one argument"),
    row("trian", "no command 'trian'", "'train'?"),
    row("continue outputs", "no command 'continue'; here it is gym-loop resume"),
    # the user's own conf
    row("agent=mine", "no key 'agent.layer' (conf/agent/mine.yaml:3)", "'agent.layers'?"),
    row("agent=high", "agent.lr is 3.0 (conf/agent/high.yaml:2)", "between 0 and 1"),
    row("agent=target", "has no _target_", "expected _target_, not target"),
    row("agent=takes", "no agent 'arss' (conf/agent/takes.yaml)", "'ars'?"),
    row("agent=agents.py:OfInstance", "OfInstance.get_default_parameters()", "@staticmethod"),
    row("agent=nothing", "agent has no _target_ (conf/agent/nothing.yaml:1)", "agent=random"),
    row("env=cartpole env.kwargs={1:a}", "CartPole-v1 has no keyword argument 1", "takes none"),
    row("env=cartpole ++agent={1:a}", "no key 'agent.1' (command line)"),
    row("env=cartpole ++env={true:a}", "no key 'env.True' (command line)"),
    row("env=cartpole wrap=[1]", "wrap=[1] (command line): 1 is no name", "flatten", "time_limit"),
    row("env=cartpole wrap=[[flatten]]", "['flatten'] is no name; expected some of atari"),
    row(
        "env=cartpole +wrap={a:1}", "+wrap={a:1} (command line): {'a:1': None} is no name", "atari"
    ),
    row(
        "env=cartpole wrap=[frame_stack] env.wrappers.frame_stck.stack_size=2",
        "env.wrappers.frame_stck has no _target_ (command line); did you mean 'frame_stack'?",
    ),
    row("+experiment=wraps", "no key 'wrap' (conf/experiment/wraps.yaml:2)", "- override /wrap"),
    row("train -c wraps.yaml", "no key 'wrap' (wraps.yaml:3)", "expected env.wrappers in it"),
    row("train -c chooses.yaml", "chooses.yaml has 'defaults'", "wrappers as env.wrappers"),
    row("wrap=[flatten] +wrap=[frame_stack]", "+wrap=[frame_stack] adds nothing", "as wrap=[...]"),
    row(
        "env=cartpole loop.info_keys={a:1}", "loop.info_keys={a:1} (command line); expected a list"
    ),
    row("env=cartpole wrap={a:b}", "wrap={a:b} (command line): {'a:b': None} is no name", "atari"),
    row("agent=1", "agent=1 (command line): 1 is no name; expected some of", "random"),
    row("agent=bell", "conf/agent/bell.yaml: not YAML: special characters are not allowed"),
    row("agent=latin", "conf/agent/latin.yaml:2: not UTF-8 (byte 0xfc)"),
    row("agent=set", "conf/agent/set.yaml:3", "set"),
    row("agent=none", "conf/agent/none.yaml:2", "NoneType"),
    row("agent=twice", "conf/agent/twice.yaml:3:1: not YAML: found duplicate key lr"),
    row("agent=number_twice", "conf/agent/number_twice.yaml:2:17: not YAML: found duplicate key 1"),
    row("agent=one_is_true", "conf/agent/one_is_true.yaml:2:17: not YAML", "duplicate key true"),
    row("agent=thousand", "conf/agent/thousand.yaml:2:19: not YAML", "duplicate key 1000.0"),
    row("train -c number_twice.yaml", "number_twice.yaml:8:20: not YAML: found duplicate key 2"),
    row("agent=half", r"agent.layers.0.\ud800 is '\udcff', which is no text in UTF-8"),
    row("env.kwargs.g='caf\udce9'", r"env.kwargs.g is 'caf\udce9', which is no text in UTF-8"),
    row("agent=slip", "conf/agent/slip.yaml:3", "not YAML"),
    row("agent=scalar", "scalar"),
    row("--config-name=nothing", "no config 'nothing'"),
    row("--config-dir=nowhere", "nowhere"),
    # directories
    row("hydra.run.dir=text.txt", "text.txt is a file"),
    row("hydra.run.dir=~/run", "~ is not read here", "write hydra.run.dir=$HOME/run"),
    row("hydra.run.dir='~/run'", "hydra.run.dir is ~/run (command line)", "write $HOME/run"),
    row("hydra.run.dir=", "hydra.run.dir is '' (command line)", "expected a directory"),
    row("-m seed=1,2 hydra.sweep.dir=", "hydra.sweep.dir is ''", "expected a directory"),
    row("-m seed=1,2 hydra.sweep.dir='~/s'", "hydra.sweep.dir is ~/s", "write $HOME/s"),
    row("hydra/launcher=slurm", "hydra/launcher=slurm is for sweeps", "add -m"),
    row("hydra/sweeper=search", "hydra/sweeper=search is for sweeps", "add -m"),
    row("hydra.launcher.n_jobs=2", "hydra.launcher.n_jobs=2 is for sweeps", "add -m"),
    row("hydra.sweep.dir=sweep", "hydra.sweep.dir=sweep is for sweeps", "add -m"),
    row("hydra.run.dir=text.txt/run", "text.txt is a file"),
    row("hydra.run.dir=/proc/nowhere/run", "/proc/nowhere/run"),
    row("hydra.run.dir=dangling", "dangling is a link that leads nowhere; expected a directory"),
    row(["hydra.run.dir=${hydra:run.dir}"], "hydra.run.dir"),
    row("loop.logdir=${hydra:runtime.cwd}/text.txt", "loop.logdir is ", "text.txt is a file"),
    row("hydra.run.dir=run", "run"),
    row("hydra.run.dir=damaged seed=1", "damaged"),
    # train
    row("train", "--run-config"),
    row("train -c", "-c"),
    row("train -c missing.yaml", "missing.yaml", "No such file"),
    row("train -c rn.yaml", "rn.yaml", "'run.yaml'?"),
    row("train -c conf", "conf", "directory"),
    row("train -c binary.yaml", "binary.yaml:1: not UTF-8 (byte 0xff)"),
    row("train -c doubled.yaml", "doubled.yaml:9:3: not YAML: found duplicate key max_episodes"),
    row("train -c number_alone.yaml", "number_alone.yaml holds a single value", "a mapping"),
    row("train -c slip.yaml", "slip.yaml:9", "not YAML"),
    row("train -c tab.yaml", "tab.yaml:5:1", "not YAML"),
    row("train -c list.yaml", "list.yaml holds a list", "a mapping"),
    row("train -c nothing.yaml", "nothing.yaml holds nothing", "a mapping"),
    row("train -c old.yaml", "old.yaml", "older version", "create-default"),
    row("train -c no_loop.yaml", "no 'loop'", "'lop'?"),
    row("train -c number.yaml", "agent._target_ is 3"),
    row("train -c key.yaml", "'loop.max_episode' (key.yaml:8)", "'loop.max_episodes'?"),
    row("train -c top.yaml", "'sede' (top.yaml:9)", "'seed'?"),
    row("train -c type.yaml", "loop.max_episodes is 'two' (type.yaml:8)", "an integer"),
    row("train -c circle.yaml", "circle.yaml:", "back to itself"),
    row("train -c run.yaml loop.max_episode=3", "'loop.max_episode' (command line)"),
    row("train -c run.yaml --force", "--force"),
    row("train -c run.yaml -m env=pendulm,cartpole", "no env 'pendulm'"),
    # evaluate
    row("evaluate", "a run's directory, or -c FILE"),
    row("evaluate nowhere", "nowhere", "no such directory"),
    row("evaluate conf", "conf", "run.json"),
    row("evaluate text.txt", "text.txt"),
    row("evaluate damaged", "damaged", "run.json"),
    row("evaluate hollow", "hollow", "agent"),
    row("evaluate run loop.eval_episode=3", "'loop.eval_episode'", "'loop.eval_episodes'?"),
    row("evaluate -c slip.yaml", "slip.yaml:9"),
    # create-default
    row("create-default", "--run-config"),
    row("create-default --agent q_lerning --run-config new.yaml", "'q_lerning'", "'q_learning'?"),
    row("create-default --run-config run.yaml", "run.yaml exists", "--force"),
    row("create-default --run-config conf --force", "conf"),
    row("create-default --run-config no/where.yaml", "no/where.yaml"),
    row("create-default --run-config x.yaml --env CartPol-v1", "CartPol-v1", "'CartPole-v1'?"),
    row("create-default --run-config x.yaml --agent agents.py:Mien", "'Mine'?"),
    row("create-default --run-config x.yaml --loop DefaultLoop", "DefaultLoop"),
    row("create-default --run-confg x.yaml", "--run-confg", "'--run-config'?"),
    row("--config-path elsewhere env=cartpole", "--config-path", "--config-dir"),
    row("+experiment=local", "experiment/local.yaml overrides agent", "# @package _global_"),
    row("+experiment=below", "chooses agent: mine", "- override /agent: mine"),
    row("--experimental-rerun elsewhere", "--experimental-rerun", "train -c FILE"),
    # resume, fork
    row("resume", "DIRECTORY"),
    row("resume nowhere", "nowhere", "no such directory"),
    row("resume damaged", "damaged", "run.json"),
    row("resume hollow", "hollow", "agent"),
    row("resume run agent._target_=agents:Mine", "fork"),
    row("resume run seed=3", "seed=3", "gym-loop fork"),
    row("resume run loop.max_episode=9", "'loop.max_episode'", "'loop.max_episodes'?"),
    row("fork", "DIRECTORY"),
    row("fork nowhere seed=1", "nowhere"),
    row("fork hollow seed=1", "hollow"),
    row("fork run --at 77 seed=1", "no episode 77", "expected 1 to "),
    row("fork run --checkpoint 1 sede=1", "no key 'sede'", "'seed'?"),
    row("evaluate run --checkpoint 77", "no episode 77", "expected 1 to "),
    row("evaluate run --checkpoint lastest", "'lastest'", "'latest'?"),
    row("evaluate run --checkpoint 1 loop.eval_epsiodes=2", "'loop.eval_epsiodes'"),
    row("fork run --at x seed=1", "'x'"),
    row("fork run sede=1", "no key 'sede'", "'seed'?"),
    row("verify-resume --kills 0", "kills"),
    row("verify-resume -m seed=1,2", "-m"),
    # reading what is there
    row("resume conf", "conf"),
    row("best --bi env", "did you mean '--by'?"),
    row("reproduce nowhere", "nowhere is not a run"),
    row("serve --prt 3", "did you mean '--port'?"),
    row("wait nowhere", "nowhere is not a sweep"),
    row("wait conf", "conf is not a sweep"),
    row("wait", "DIRECTORY"),
    row("cancel run", "run is not a sweep"),
    row("-m seed=1,2 hydra.launcher.gpus=all", "gpus=all", "null, auto or a list"),
    row("-m seed=1,2 hydra.launcher.jobs_per_gpu=0", "jobs_per_gpu=0", "at least 1"),
    row("-m seed=1,2 hydra.launcher.gpu=[0]", "'hydra.launcher.gpu'", "hydra.launcher.gpus"),
    row("ls nowhere", "nowhere"),
    row("ls text.txt", "text.txt"),
    row("ls --srot x", "--srot"),
    row("report nowhere", "nowhere" if SCIPY else 'pip install "gym-loop[report]"'),
    row("report text.txt", "text.txt" if SCIPY else 'pip install "gym-loop[report]"'),
    row("diff run nowhere", "nowhere"),
    row("diff run"),
    row("replay nowhere", "nowhere"),
    row("replay damaged", "damaged"),
    row("replay run --episode 77", "77"),
    row("export run", "FILE_OR_DIR"),
    row("export nowhere data.npz", "nowhere"),
    row("export run data.npz --episode 77", "77"),
    row("export run --formt x", "--formt"),
    row("completion", "completion lacks a word", "bash"),
    row("completion bsh", "'bsh'"),
    row("check env=pendulm", "no env 'pendulm'", "'pendulum'?"),
    row("check nonsense", "nonsense"),
]


def needs_torch(words):
    return any("=sb3/" in word for word in words)


def assert_named(done, expected):
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gym-loop: ")
    for text in expected:
        assert text in lines[0], lines[0]
    assert "Traceback" not in lines[0]


def test_the_table_covers_every_command():
    first = {parameters.values[0][0] for parameters in MISTAKES}
    assert COMMANDS - {"help"} <= first


@pytest.mark.parametrize(("words", "expected"), MISTAKES)
def test_a_mistake_takes_one_line_and_leaves_nothing_behind(words, expected, unchanged, as_a_child):
    folder, check = unchanged
    if needs_torch(words):
        import stable_baselines3  # noqa: F401  # here, and not in each child
    done = as_a_child(words, folder)
    check()
    assert_named(done, expected)


def test_each_word_of_another_tool_has_one_meaning_which_there_is():
    theirs = [word for words in mistakes.COMMANDS.values() for word in words.split()]
    assert len({*theirs}) == len(theirs) and not COMMANDS & {*theirs}
    assert all(ours in COMMANDS or ours.startswith("-") for ours in mistakes.COMMANDS)


def test_what_is_near_no_name_gets_the_list_of_them():
    assert mistakes.command_meant("version", COMMANDS) == "; here it is gym-loop --version"
    assert mistakes.command_meant("Sweep", COMMANDS) == "; here it is gym-loop -m"
    assert "did you mean 'evaluate'?" in mistakes.command_meant("evalute", COMMANDS)
    for far in ("delete", "rm", "x", ""):
        meant = mistakes.command_meant(far, COMMANDS)
        assert meant.startswith("; expected one of best, cancel, ") and "did you mean" not in meant


def test_the_beginning_of_a_name_is_near_to_it():
    assert mistakes.nearest("Mlp", ["CnnPolicy", "MlpPolicy"]) == "; did you mean 'MlpPolicy'?"
    assert mistakes.nearest("ml", ["MlpPolicy"], "; else") == "; else"


def seconds_of(command, folder):
    """Run a command; return what came of it and the processor time that it took.

    Unlike time on the wall it does not depend on what else the machine does.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize(("words", "expected"), MISTAKES[::6])
def test_a_mistake_costs_its_user_two_seconds_at_most(words, expected, folder):
    # To import PyTorch takes that long by itself.
    needed = "import stable_baselines3" if needs_torch(words) else "pass"
    _, start = seconds_of([sys.executable, "-c", needed], folder)
    done, seconds = seconds_of([sys.executable, "-m", "gym_loop", *words], folder)
    assert_named(done, expected)
    assert seconds - start < SECONDS


def test_the_docs_show_what_is_printed(folder, as_a_child):
    section = ERRORS.read_text().partition("## A name or a value\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\$ gym-loop (.*)\n(gym-loop: .*)", section, re.MULTILINE)
    assert len(shown) == 7
    for command, line in shown:
        assert_named(as_a_child(shlex.split(command), folder), line.split("..."))


# What only a run can tell: the fault shows when the agent or the environment is first called.
FAULTS = [
    row("env=envs.py:OldStep", "four values", "gym before 0.26", "expected five", "wrap=[old_api]"),
    row("env=envs.py:OldReset", "reset()", "gym before 0.26", "wrap=[old_api]"),
    row("env=envs.py:LongStep", "step() of the environment returned", "5 values", "five: obs"),
    row("env=envs.py:NoStep", "step() of the environment returned None", "five: obs"),
    row("env=envs.py:NoStep loop=vector", "step() of the environment returned None", "five: obs"),
    row("env=envs.py:Flags", "array([False", "as terminated in episode 0, step 1", "true or false"),
    row("env=envs.py:ListOfFlags", "returned [False, False] as terminated", "true or false"),
    row("env=envs.py:a_pair", "tuple has no observation_space; expected an environment of gym"),
    row("env=envs.py:a_pair loop=vector", "tuple has no observation_space; expected an"),
    row("env=envs.py:LoneReset", "reset() of the environment returned one value, of type float"),
    row("env=envs.py:OldStep loop=vector", "four values", "gym before 0.26", "expected five"),
    row("env=envs.py:HalfOldReset loop=vector", "reset()", "to return observation, info"),
    row("env=envs.py:Crowd", "Crowd", "PettingZoo"),
    row("env=envs.py:Functional", "observation_space of Functional is a method", "JAX"),
    row("env=envs.py:Functional loop=vector", "observation_space of Functional is a method"),
    row("agent=agents.py:ReturnsNone", "act() of ReturnsNone returned None", "Box("),
    row("agent=agents.py:ReturnsNone env=cartpole", "returned None", "Discrete(2)"),
    row("agent=agents.py:ReturnsNone env=taxi", "returned None", "Discrete(6)"),
    row(
        "agent=agents.py:OutOfSpace env=cartpole", "returned 7 in episode 0, step 1", "Discrete(2)"
    ),
    row("env=envs.py:HalfOldReset", "reset()", "to return observation, info"),
    row("env=envs.py:NoReward", "the reward None in episode 0, step 3", "expected a number"),
    row("agent=agents.py:WordMetric", "metrics() of WordMetric has 'loss': 'low'", "a number"),
    row(
        "agent=agents.py:ListMetrics", "metrics() of ListMetrics returned [1] in episode 0", "dict"
    ),
    row("agent=agents.py:SaveOnly", "SaveOnly.save() wrote no agent.pkl", "write a load() as well"),
    row("agent=agents.py:SaveFails", "cannot write", "no such luck"),
]
TRACEBACKS = [
    row("env=envs.py:ResetRaises", "envs.py", "in reset", "RuntimeError: no reset today"),
    row("agent=agents.py:SaveRaises", "agents.py", "in save", "RuntimeError: no save today"),
    row("agent=agents.py:ActRaises", "agents.py", "in act", "KeyError: 'q'"),
]


@pytest.mark.parametrize(("words", "expected"), FAULTS)
def test_a_fault_that_shows_in_the_run_takes_one_line(words, expected, folder, as_a_child):
    done = as_a_child([*words, "hydra.run.dir=new"], folder)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    for text in expected:
        assert text in line
    assert json.loads((folder / "new" / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(("words", "expected"), TRACEBACKS)
def test_a_fault_in_the_users_code_shows_their_traceback_from_their_frame(
    words, expected, folder, as_a_child
):
    done = as_a_child([*words, "hydra.run.dir=new"], folder)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    for text in expected:
        assert text in done.stderr
    frames = re.findall(r'File "([^"]+)"', done.stderr)
    assert frames
    assert all(frame.startswith(str(folder)) for frame in frames)
    assert json.loads((folder / "new" / "run.json").read_text())["state"] == "failed"


def test_an_error_in_the_users_module_shows_their_traceback_and_creates_nothing(folder, as_a_child):
    (folder / "raises.py").write_text("import os\n\nlimit = int('many')\n")
    before = listing(folder)
    done = as_a_child(["agent=raises.py:Mine"], folder)
    assert done.returncode == 1
    assert re.findall(r'File "([^"]+)"', done.stderr) == [str(folder / "raises.py")]
    assert done.stderr.rstrip().endswith(
        "ValueError: invalid literal for int() with base 10: 'many'"
    )
    assert listing(folder) == before


def test_a_get_default_parameters_that_raises_shows_the_users_traceback(folder, as_a_child):
    (folder / "defaults.py").write_text(
        "class Mine:\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        return {'lr': 1 / 0}\n"
    )
    done = as_a_child(["agent=defaults.py:Mine"], folder)
    assert done.returncode == 1
    assert re.findall(r'File "([^"]+)"', done.stderr) == [str(folder / "defaults.py")]
    assert "ZeroDivisionError" in done.stderr


def test_full_errors_show_every_frame(folder):
    done = subprocess.run(
        [sys.executable, "-m", "gym_loop", "sed=3"],
        cwd=folder,
        env={**os.environ, "HYDRA_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "config_loader_impl.py" in done.stderr


@pytest.fixture
def mounted(tmp_path):
    """Mount a small file system for the test; skip where that is not allowed."""
    mounts = []

    def mount(options):
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("needs the right to mount a small file system")
        mounts.append(place)
        return place

    yield mount
    for place in mounts:
        subprocess.run(["umount", str(place)], check=True)


def test_a_limit_of_the_process_blames_no_directory(tmp_path, limited):
    limited(100)
    with pytest.raises(mistakes.Mistake) as caught:
        config.check_writable(tmp_path / "run", lambda: "hydra.run.dir is run")
    assert caught.value.message.startswith(f"cannot write into {tmp_path / 'run'}: File too large;")


def test_a_name_that_is_too_long_is_named_also_below_what_is_not_there_yet(tmp_path):
    with pytest.raises(mistakes.Mistake, match="logdir: File name too long; choose a shorter name"):
        config.check_writable(tmp_path / "run" / ("x" * 256), lambda: "logdir")


def test_a_directory_that_is_read_only_is_named(folder, mounted, as_a_child):
    disk = mounted("size=1m,ro")
    done = as_a_child([f"hydra.run.dir={disk}/run"], folder)
    assert_named(done, ["hydra.run.dir is ", "Read-only file system"])


def test_a_full_directory_is_named_and_left_as_it_is(folder, mounted, as_a_child):
    disk = mounted("size=64k")
    (disk / "full").write_bytes(bytes(1 << 16))
    done = as_a_child([f"hydra.run.dir={disk}/run"], folder)
    assert_named(done, ["hydra.run.dir is ", "No space left on device"])
    assert os.listdir(disk) == ["full"]


def test_a_folder_whose_name_is_no_text_is_named_and_left_as_it_is(tmp_path, as_a_child):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    assert_named(as_a_child(["agent=random"], folder), [r"caf\udce9' is no text in UTF-8"])
    assert os.listdir(folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes what it likes")
def test_what_may_not_be_read_or_written_is_named(folder, as_a_child):
    (folder / "run.yaml").chmod(0)
    assert_named(as_a_child(["train", "-c", "run.yaml"], folder), ["run.yaml", "Permission denied"])
    (folder / "conf").chmod(0o500)
    done = as_a_child(["hydra.run.dir=conf/run"], folder)
    assert_named(done, ["hydra.run.dir is ", "Permission denied"])
