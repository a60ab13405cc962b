"""Launching and reading from Python."""

import functools
import gc
import inspect
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import gym_loop
from gym_loop.config import by_value
from tests.conftest import AGENTS

LOGGERS = {"a.program", "gym_loop", "hydra", "root"}
QUICK = ("env=cartpole", "loop.max_episodes=2", "loop.eval_episodes=1")
EVALUATED = ("loop.eval_episodes=2", "loop.episodes_per_eval=2")
VECTOR_AGENTS = Path(__file__).with_name("vector_agents.py")

SCRIPT = """
import gym_loop


class Counter(gym_loop.BaseAgent):
    @staticmethod
    def get_default_parameters():
        return {"step": 1}

    def act(self, state, episode_num):
        return int(self.rng.integers(2))

    def memorize(self, last_ob, action, reward, done, ob):
        pass

    def update(self, episode_num):
        pass


"""


def process_state():
    """What a launch might leave changed in the process."""
    root = logging.getLogger()
    names = {name for name in logging.root.manager.loggerDict if not name.startswith("rich")}
    loggers = {name: logging.getLogger(name) for name in names & LOGGERS}
    return {
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "logging": (root.handlers[:], root.level, logging._handlerList[:]),
        "loggers": {
            name: (each.handlers[:], each.level, each.disabled, each.propagate)
            for name, each in loggers.items()
        },
        "gc": (gc.get_threshold(), gc.get_freeze_count()),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "warnings": warnings.filters[:],
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "directory": os.getcwd(),
        "arguments": sys.argv[:],
        "hydra": (GlobalHydra.instance().is_initialized(), HydraConfig.initialized()),
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder, code):
    """Run a script of that code in `folder`, and return what it printed."""
    (folder / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_import_gym_loop_imports_nothing_but_itself():
    code = "import sys; before = {*sys.modules}; import gym_loop; print({*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"gym_loop", "typing", "importlib"}
    new = {name.partition(".")[0] for name in eval(done.stdout)}
    assert not [
        name for name in new if name not in allowed and not name.startswith("_")
    ] or new <= {
        *allowed,
        *sys.stdlib_module_names,
    }


def test_a_run_is_what_its_directory_says(here):
    run = gym_loop.run("env=cartpole", "loop.max_episodes=7", "loop.episodes_per_eval=5")
    assert (run.state, run.config["loop"]["max_episodes"]) == ("finished", 7)
    assert run.path.is_relative_to("outputs") or run.path.is_absolute()
    assert run.episodes["episode"].tolist() == list(range(7))
    assert run.episodes.dtype["terminated"].kind == "b"
    assert len(run.evaluations) == 20
    assert run.result == pytest.approx(run.evaluations["return"][-10:].mean())
    steps, values = run.metrics("train/return")
    assert steps.tolist() == run.episodes["steps"].tolist()
    assert values.tolist() == run.episodes["return"].tolist()
    assert gym_loop.Run(run.path).state == "finished"


def test_a_curve_that_is_not_there_names_the_nearest(here):
    run = gym_loop.run("env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")
    with pytest.raises(gym_loop.Mistake, match="did you mean 'train/return'"):
        run.metrics("train/retrun")


@pytest.mark.parametrize(
    ("place", "warning"),
    [
        ("link", "cannot read events.out.tfevents.1: it leads out of the run's directory"),
        ("pipe", "cannot read events.out.tfevents.1: not a regular file"),
        ("folder", "loop.eval_logdir lies outside of the run's directory: not read"),
    ],
)
def test_no_curve_is_read_from_outside_of_a_run_or_from_a_pipe(here, place, warning):
    gym_loop.run("env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1", directory="run")
    shutil.copytree("run/eval_logs", "elsewhere")
    shutil.rmtree("run/eval_logs")
    if place == "folder":
        Path("run/eval_logs").symlink_to(here / "elsewhere")
    else:
        Path("run/eval_logs").mkdir()
        file = Path("run/eval_logs/events.out.tfevents.1")
        [other] = (here / "elsewhere").iterdir()
        file.symlink_to(other) if place == "link" else os.mkfifo(file)

    run = gym_loop.Run("run")

    assert len(run.metrics("train/return")[0]) == 1
    with pytest.raises(gym_loop.Mistake, match="no curve 'eval/return'"):
        run.metrics("eval/return")
    assert warning in run.warnings


def raises(directory):
    with pytest.raises(ValueError, match="no idea"):
        gym_loop.run("env=cartpole", f"agent={AGENTS}:Raises", directory=directory)


def is_a_mistake(*words, launch=None):
    with pytest.raises(gym_loop.Mistake):
        (launch or gym_loop.run)("env=cartpole", "loop.max_episode=2", *words)


def continue_a_sweep():
    gym_loop.sweep(*QUICK, "seed=0,1", directory="s")
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    gym_loop.resume("../s", "seed=0,1,2")
    os.chdir("..")


@pytest.mark.parametrize(
    "launch",
    [
        lambda: gym_loop.evaluate(gym_loop.run(*QUICK, directory="r")),
        lambda: gym_loop.run(*QUICK, directory="r").policy(),
        lambda: raises("r"),
        is_a_mistake,
        lambda: is_a_mistake("seed=0,1", launch=gym_loop.sweep),
        lambda: gym_loop.sweep(*QUICK, "seed=0,1"),
        continue_a_sweep,
    ],
    ids=["evaluate", "policy", "failure", "mistake", "sweep-mistake", "sweep", "resume"],
)
def test_a_launch_leaves_the_process_as_it_was(here, launch):
    logging.getLogger("a.program")
    import gym  # noqa: F401  # which sets SDL_AUDIODRIVER

    import gym_loop.api  # noqa: F401  # which makes loggers

    before = process_state()
    launch()
    assert process_state() == before


def test_a_log_that_the_program_writes_goes_on_after_a_launch(here):
    handler = logging.FileHandler(here / "program.log", mode="w")
    logger = logging.getLogger("a.program")
    logger.addHandler(handler)
    try:
        logger.warning("before")
        gym_loop.run(*QUICK)
        logger.warning("after")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (here / "program.log").read_text().split() == ["before", "after"]


def test_a_mistake_is_the_command_lines_own_line(here, child):
    with pytest.raises(gym_loop.Mistake) as mistake:
        gym_loop.run("env=cartpole", "loop.max_episode=2")
    told = child("env=cartpole", "loop.max_episode=2").stderr
    assert str(mistake.value) == told.removeprefix("gym-loop: ").strip()
    assert not (here / "outputs").exists()


def test_a_script_that_does_not_catch_a_mistake_ends_with_its_line(here):
    (here / "script.py").write_text(
        "import gym_loop\ngym_loop.run('env=cartpole', 'loop.max_episode=2')\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("gym-loop: no key 'loop.max_episode'"), done.stderr


def test_what_an_agent_raises_is_raised_and_its_run_has_failed(here):
    with pytest.raises(ValueError, match="no idea"):
        gym_loop.run("env=cartpole", f"agent={AGENTS}:Raises", directory="r")
    assert gym_loop.Run("r").state == "failed"


def test_a_run_in_its_own_directory_is_returned_when_it_is_finished(here):
    first = gym_loop.run("env=cartpole", "loop.max_episodes=2", directory="r")
    again = gym_loop.run("env=cartpole", "loop.max_episodes=2", directory="r")
    assert again.episodes.tolist() == first.episodes.tolist()


@pytest.mark.slow
def test_a_run_goes_on_is_forked_and_evaluated(here):
    run = gym_loop.run(*QUICK, "env=frozen_lake", "agent=q_learning", directory="r")
    first = run.episodes.tolist()
    longer = gym_loop.resume(run, "loop.max_episodes=4")
    assert longer.path.resolve() == run.path.resolve()
    assert longer.episodes[:2].tolist() == first
    forked = gym_loop.fork(longer, "agent.discount=0.5", "loop.max_episodes=5", at=4, directory="f")
    assert forked.episodes[:4].tolist() == longer.episodes.tolist()
    assert (len(forked.episodes), forked.config["agent"]["discount"]) == (5, 0.5)
    returns = gym_loop.evaluate("f", "loop.eval_episodes=3")
    assert (returns.shape, returns[0]) == ((3,), forked.evaluations["return"][-1])
    with pytest.raises(gym_loop.Mistake, match=r"no episode 5 .* expected 1 to 4, latest or best"):
        gym_loop.fork(longer, at=5)


def test_a_word_that_is_a_flag_is_refused(here):
    with pytest.raises(gym_loop.Mistake, match=r"expected an override .* not '--cfg'"):
        gym_loop.run(*QUICK, "--cfg", "job")


def test_a_finished_run_is_returned_when_a_word_names_its_directory(here):
    first = gym_loop.run(*QUICK, "hydra.run.dir=r")
    assert gym_loop.run(*QUICK, "hydra.run.dir=r").path == first.path


LOOPS = {
    "default": (f"agent={AGENTS}:Learner",),
    "vector": (f"agent={VECTOR_AGENTS}:Learner", "loop=vector", "loop.num_envs=2"),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_policy_acts_in_a_plain_environment(here, loop):
    gymnasium = pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    run = gym_loop.run("env=cartpole", *LOOPS[loop], "loop.max_episodes=4", *EVALUATED)
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=3)
    for which in ("latest", "best", run.policy().episode):
        policy = run.policy(which)
        assert env.action_space.contains(policy(observation))
        assert not policy.agent.training
    with pytest.raises(gym_loop.Mistake, match="no episode 99"):
        run.policy(99)


def test_objects_among_the_parameters_are_the_trained_ones_in_policy_and_evaluate(here):
    (here / "mine.py").write_text(
        "import numpy as np\nfrom gym_loop.agents import RandomAgent\n\n\n"
        "class Mine(RandomAgent):\n"
        "    @staticmethod\n"
        "    def get_default_parameters():\n"
        "        counts = {'_target_': 'collections.Counter'}\n"
        "        return {'counts': counts, 'array': np.arange(2)}\n\n"
        "    def act(self, state, episode_num):\n"
        "        return min(self.parameters['counts']['steps'], 1)\n\n"
        "    def update(self, episode_num):\n"
        "        self.parameters['counts']['steps'] += 1\n"
    )
    run = gym_loop.run("agent=mine.py:Mine", *QUICK, directory="r")
    assert run.policy().agent.parameters["counts"]["steps"] == sum(run.episodes["length"])
    assert run.policy()(np.zeros(4)) == 1
    assert gym_loop.evaluate(run)
    changed = gym_loop.fork(run, "agent.counts={_target_: collections.Counter, steps: 40}")
    assert changed.policy().agent.parameters["counts"]["steps"] == 40


@pytest.mark.parametrize("loop", LOOPS)
def test_a_replay_has_what_the_episode_had(here, loop):
    run = gym_loop.run("env=cartpole", *LOOPS[loop], "loop.max_episodes=4", *EVALUATED)
    for evaluation, table in ((False, run.episodes), (True, run.evaluations)):
        again = run.replay(1, evaluation=evaluation, frames=True)
        (row,) = table[table["episode"] == 1]
        length = row["length"]
        assert again.difference is None
        assert again.rewards.sum() == row["return"]
        assert len(again.actions) == length
        assert len(again.observations) == len(again.frames) == length + 1
        assert again.frames[0].shape == (400, 600, 3)
    with pytest.raises(gym_loop.Mistake, match="episode 'best'; expected its number"):
        run.replay("best")


def test_env_is_the_one_of_evaluation(here):
    run = gym_loop.run(*QUICK, "env.kwargs.sutton_barto_reward=true", "env=gymnasium:CartPole-v1")
    env = run.env()
    env.reset(seed=0)
    assert env.step(0)[1] == 0.0  # Gymnasium's CartPole gives 1 otherwise


def test_an_error_in_a_class_by_value_shows_its_frame_in_another_process(tmp_path, cli):
    script(
        tmp_path,
        SCRIPT + "class Broken(Counter):\n"
        "    def act(self, state, episode_num):\n"
        "        return self.nothing\n"
        "try:\n"
        "    gym_loop.run('env=cartpole', agent=Broken, directory='broken')\n"
        "except AttributeError:\n"
        "    pass\n",
    )
    told = cli("resume", "broken").stderr
    assert re.search(r'Traceback.*\n  File "<dynamic-code>", line \d+, in act\n', told)


@pytest.mark.slow
def test_a_directory_may_begin_with_the_home_directory_s_sign(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    run = gym_loop.run(*QUICK, directory="~/run")
    assert run.path == here / "home" / "run"
    runs = gym_loop.sweep(*QUICK, "seed=0,1", directory="~/sweep")
    assert (len(runs), len(gym_loop.Runs("~/sweep"))) == (2, 2)
    assert gym_loop.Run("~/run").state == gym_loop.resume("~/run").state == "finished"
    assert not (here / "~").exists()


def test_no_fork_is_advised_of_a_run_without_a_checkpoint(tmp_path, child):
    words = ("agent=raises.py:Mine", "env=cartpole", "hydra.run.dir=r")
    (tmp_path / "raises.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n"
        "class Mine(RandomAgent):\n    def act(self, *_): raise LookupError('none')\n"
    )
    assert child(*words).returncode == 1
    told = child("agent=random", *words[1:]).stderr
    assert told.rstrip().endswith("what has already happened. Choose another directory"), told


@pytest.mark.slow
def test_a_script_without_a_guard_sweeps_over_its_own_class(tmp_path):
    told = script(
        tmp_path,
        SCRIPT + "runs = gym_loop.sweep('env=cartpole', 'agent.step=1,2', 'loop.max_episodes=2',\n"
        "                      'loop.eval_episodes=1', agent=Counter, directory='s')\n"
        "print(sorted((run.state, run.config['agent']['step']) for run in runs))\n",
    )
    assert told[-1] == "[('finished', 1), ('finished', 2)]"


OWN = (
    SCRIPT
    + """
import numpy as np
from gym.spaces import Box, Discrete


class Line:
    observation_space, action_space = Box(-9, 9, (1,)), Discrete(2)

    def __init__(self, length=3, render_mode=None):
        self.length = length

    def reset(self, seed=None, options=None):
        self.place = np.zeros(1, np.float32)
        return self.place.copy(), {}

    def step(self, action):
        self.place += 2 * action - 1
        over = bool(abs(self.place[0]) >= self.length)
        return self.place.copy(), float(action), over, False, {}

    def close(self):
        pass


class Notes:
    count = 0


class Loop(gym_loop.DefaultLoop):
    pass


class Noting(Counter):
    def __init__(self, **given):
        super().__init__(**given)
        self.notes = Notes()

    def memorize(self, last_ob, action, reward, done, ob):
        self.notes.count += 1


"""
)


WRAPPED = """
import gym


class Squared(gym.RewardWrapper):
    def __init__(self, env, factor=1):
        super().__init__(env)
        self.factor = factor

    def reward(self, reward):
        return self.factor * reward**2


"""


def test_wrappers_are_given_as_classes_and_by_name_innermost_first(tmp_path, cli):
    script(
        tmp_path,
        SCRIPT + WRAPPED + "words = ['env=cartpole', 'env.wrappers.Squared.factor=3']\n"
        "words += ['loop.max_episodes=2', 'loop.eval_episodes=0']\n"
        "wrap = [Squared, 'flatten']\n"
        "gym_loop.run(*words, agent=Counter, wrap=wrap, directory='r')\n",
    )
    (tmp_path / "script.py").unlink()
    done = cli("resume", tmp_path / "r", "loop.max_episodes=3")
    assert done.returncode == 0, done.stderr
    run = gym_loop.Run(tmp_path / "r")
    assert [*run.config["env"]["wrappers"]] == ["Squared", "flatten"]
    assert (3 * run.episodes["return"] == run.episodes["agent_return"]).all()


def paying(reward, words=("a", "b", "c")):
    """Make an environment whose steps give `reward()`."""

    class Paying(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return 0, {}

        def step(self, action):
            return 0, float(reward()), True, False, {"a word": "d" not in {*words}}

    return Paying


def test_what_one_function_has_made_twice_is_not_one_and_the_same(here):
    """A run goes on in its own environment, and is not taken for a run in the other."""
    words = ("loop.max_episodes=2", "loop.eval_episodes=1")
    one = gym_loop.run(*words, env=paying(lambda: 1), directory="one")
    two = gym_loop.run(*words, env=paying(lambda: 2), directory="two")
    again = gym_loop.resume(one, "loop.max_episodes=4")
    assert [*again.episodes["return"], again.result] == [1, 1, 1, 1, 1]
    assert (again.replay(0).difference, two.replay(0).difference) == (None, None)
    with pytest.raises(gym_loop.Mistake, match="two holds a run"):
        gym_loop.run(*words, env=paying(lambda: 3), directory="two")
    assert gym_loop.run(*words, env=paying(lambda: 2), directory="two").result == 2


def test_what_a_function_holds_tells_what_it_made():
    """A number that is there twice is not taken for one that is there once."""
    ways = [(1, 1, 2), (1, 2, 2), ((1, 2), 2), [1, 1, 2], {1: 2}, (lambda: 1,), (lambda: 2,)]
    ways += [(functools.partial(max, n),) for n in (1, 2)]
    names = [by_value.target(paying(way)) for way in ways for _ in range(2)]
    assert [names.index(name) for name in names] == [n - n % 2 for n in range(2 * len(ways))]


def test_an_environment_is_made_by_a_lambda(here):
    run = gym_loop.run(
        "loop.max_episodes=1", env=lambda reward=3: paying(lambda: reward)(), directory="r"
    )
    assert [*gym_loop.resume(run, "loop.max_episodes=2").episodes["return"]] == [3, 3]


def test_a_launch_in_another_thread_is_refused_while_one_is_under_way(here):
    """The directory and Hydra's state are the process's: one run had the config of another."""
    refused = []

    def launch():
        try:
            gym_loop.run("loop.max_episodes=1", env="cartpole", directory="second")
        except gym_loop.Mistake as mistake:
            refused.append(str(mistake))

    def reward():
        thread = threading.Thread(target=launch)
        thread.start()
        thread.join()
        return 1

    run = gym_loop.run("loop.max_episodes=1", env=paying(reward), directory="first")
    assert (run.state, run.result) == ("finished", 1)
    assert refused and all("another thread" in line for line in refused)
    assert not Path("second").exists()
    launch()
    assert gym_loop.Run("second").state == "finished"


@pytest.mark.slow
def test_what_a_function_has_made_has_one_name_in_each_process(tmp_path):
    """The order of a set of words, which differs between processes, is no part of it."""
    program = "from gym_loop.config import by_value; from tests.test_api import paying; "
    program += "print(by_value.target(paying(lambda: 'b' in {'a', 'b', 'c'}, {*'abcdefg'})))"
    names = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[1],
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(names) == 1


@pytest.mark.slow
def test_another_process_continues_a_run_and_a_sweep_of_a_scripts_classes(tmp_path, cli):
    script(
        tmp_path,
        OWN + "own = {'agent': Noting, 'env': Line, 'loop': Loop}\n"
        "run = gym_loop.run('loop.max_episodes=3', 'env.length=2', **own, directory='r')\n"
        "assert run.policy().agent.notes.count == run.episodes['steps'][-1]\n"
        "assert run.replay(1).difference is None\n"
        "gym_loop.sweep('agent.step=1,2', 'loop.max_episodes=2', **own, directory='s')\n",
    )
    (tmp_path / "script.py").unlink()
    done = cli("resume", tmp_path / "r", "loop.max_episodes=5")
    assert done.returncode == 0, done.stderr
    run = gym_loop.Run(tmp_path / "r")
    assert (len(run.episodes), run.config["agent"]["_target_"][-7:]) == (5, ":Noting")
    done = cli("resume", tmp_path / "s", "agent.step=1,2,3")
    assert done.returncode == 0, done.stderr
    assert "3 jobs: 1 done, 2 skipped" in done.stdout


@pytest.mark.slow
def test_ctrl_c_stops_a_run_which_is_returned_and_goes_on(tmp_path):
    told = script(
        tmp_path,
        SCRIPT + "import os, signal\n"
        "class Interrupts(Counter):\n"
        "    def end_episode(self, number, truncated):\n"
        "        if number == 2 and self.training:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "run = gym_loop.run('env=cartpole', 'loop.max_episodes=6', agent=Interrupts)\n"
        "print(run.state, len(run.episodes))\n"
        "run = gym_loop.resume(run)\n"
        "print(run.state, len(run.episodes))\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n",
    )
    assert [line for line in told if not line.startswith(("return:", "run:", "continue"))][
        1::2
    ] == [
        "stopped 3",
        "finished 6",
    ]
    assert told[-1] == "True"


@pytest.mark.parametrize(
    "call",
    [
        lambda: gym_loop.run(*QUICK, directory=""),
        lambda: gym_loop.sweep(*QUICK, "seed=0,1", directory=""),
        lambda: gym_loop.resume(""),
        lambda: gym_loop.fork("", directory="f"),
    ],
    ids=["run", "sweep", "resume", "fork"],
)
def test_an_empty_name_is_not_the_current_directory(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gym_loop.Mistake, match="the directory is ''; expected a directory"):
        call()
    assert not list(tmp_path.iterdir())


def test_the_directory_of_a_sweep_is_given_in_one_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gym_loop.Mistake, match="directory="):
        gym_loop.sweep(*QUICK, "seed=0,1", "hydra.sweep.dir=mine")
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_ctrl_c_stops_a_sweep_whose_runs_are_returned_and_go_on(tmp_path):
    told = script(
        tmp_path,
        SCRIPT + "import os, pathlib, signal, threading, time\n"
        "class Waits(Counter):\n"
        "    def end_episode(self, number, truncated):\n"
        "        if number == 2 and not pathlib.Path('go').exists():\n"
        "            pathlib.Path('here').touch()\n"
        "            time.sleep(30)\n"
        "def interrupt():\n"
        "    while not pathlib.Path('here').exists():\n"
        "        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "words = ['env=cartpole', 'loop.max_episodes=4', 'seed=0', 'hydra.launcher.n_jobs=1']\n"
        "runs = gym_loop.sweep(*words, agent=Waits, directory='s')\n"
        "print([run.state in ('stopped', 'dead') for run in runs])\n"
        "pathlib.Path('go').touch()\n"
        "print([run.state for run in gym_loop.resume(runs)])\n",
    )
    assert (told[-1], "[True]" in told) == ("['finished']", True)


@pytest.mark.slow
def test_a_program_that_uses_hydra_launches_runs_and_goes_on_undisturbed(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "theirs.yaml").write_text("name: theirs\nseeds: 2\n")
    told = script(
        tmp_path,
        SCRIPT + "import hydra, logging\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "log = logging.getLogger('theirs')\n"
        "@hydra.main(config_path='conf', config_name='theirs', version_base='1.3')\n"
        "def main(cfg):\n"
        "    log.info('before')\n"
        "    own = HydraConfig.get()\n"
        "    run = gym_loop.run('env=cartpole', 'loop.max_episodes=2', agent=Counter)\n"
        "    words = ['env=cartpole', f'seed=range({cfg.seeds})', 'loop.max_episodes=1']\n"
        "    runs = gym_loop.sweep(*words, agent=Counter)\n"
        "    assert HydraConfig.get() is own and own.job.config_name == 'theirs'\n"
        "    log.info('after')\n"
        "    print(run.state, len(runs), cfg.name, own.job.name)\n"
        "main()\n"
        "print(HydraConfig.initialized())\n",
    )
    assert "finished 2 theirs script" in told
    (log,) = tmp_path.glob("outputs/*/*/script.log")
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["before", "after"]


ARGUMENTS = {
    "run": ["words", "agent", "env", "loop", "wrap", "directory"],
    "sweep": ["words", "agent", "env", "loop", "wrap", "directory"],
    "resume": ["run", "words"],
    "fork": ["run", "words", "agent", "env", "loop", "wrap", "checkpoint", "at", "directory"],
    "evaluate": ["run", "words", "checkpoint"],
    "Run": ["directory"],
    "Run.metrics": ["self", "tag"],
    "Run.policy": ["self", "checkpoint", "env"],
    "Run.env": ["self", "checkpoint"],
    "Run.replay": ["self", "episode", "evaluation", "frames"],
    "Runs": ["directories"],
    "Runs.frame": ["self"],
}
NAMES = [
    *("BaseAgent", "BaseLoop", "DefaultLoop", "Episode", "Mistake", "Observer", "Run", "Runs"),
    *("evaluate", "fork", "resume", "run", "sweep", "testing"),
]


def test_the_public_names_are_these():
    assert gym_loop.__all__ == NAMES
    assert all(getattr(gym_loop, name) is not None for name in NAMES)
    assert {*NAMES} <= {*dir(gym_loop)}
    assert {"check_agent", "check_loop"} <= {*dir(gym_loop.testing)}
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = gym_loop.runn


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_public_functions_take_these_arguments(name):
    found = functools.reduce(getattr, name.split("."), gym_loop)
    assert list(inspect.signature(found).parameters) == ARGUMENTS[name]


def test_a_policy_plays_the_episodes_of_an_evaluation(tmp_path):
    words = ["agent=ars", "env=cartpole", "loop.max_episodes=32", "loop.eval_episodes=3"]
    run = gym_loop.run(*words, directory=tmp_path / "run")  # ends amid a change of its weights
    policy, env = run.policy(), run.env()
    for row in run.evaluations:
        policy.reset()
        observation, _ = env.reset(seed=int(row["seed"]))
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total, ended = total + reward, terminated or truncated
        assert total == row["return"]
