"""How runs end: as finished only when the loop came to its end."""

import json
import os
import sys
from pathlib import Path

import pytest

from gym_loop.mistake import Failure
from gym_loop.runs import compare
from tests.conftest import rows

PANIC = """
import asyncio
import dataclasses
import gymnasium as gym
from gymnasium import spaces
from gym_loop.agents import RandomAgent
from gym_loop.observers import Observer

class Panic(BaseException):
    pass

class Falsy(Exception):
    def __len__(self):  # as of an error that lists others
        return 0

@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    text: str

    def __str__(self):
        return self.text

class LeavesWith256(SystemExit):  # of which the system keeps eight bits
    def __init__(self, text):
        super().__init__(256)

ERRORS = {e.__name__: e for e in (Panic, ValueError, asyncio.CancelledError, GeneratorExit)}
ERRORS |= {e.__name__: e for e in (Falsy, Frozen, LeavesWith256)}

class Raises(RandomAgent):
    @staticmethod
    def get_default_parameters():
        return {"error": ""}

    def act(self, state, episode_num):
        if self.training and episode_num == 3:
            raise ERRORS[self.parameters["error"]]("at once")
        return super().act(state, episode_num)

class Talks(Observer):
    def close(self, error):
        return "written"

class Env(gym.Env):
    observation_space = action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 1.0, True, False, {}

    def close(self):
        open("closed", "w").close()
"""


@pytest.mark.parametrize("error", ["Panic", "ValueError", "CancelledError", "GeneratorExit"])
def test_whatever_was_raised_the_run_has_failed_and_its_environment_is_closed(
    launch, tmp_path, error
):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    name = f"panics_{error.lower()}"
    (tmp_path / f"{name}.py").write_text(PANIC)
    words = (f"agent={name}.py:Raises", f"agent.error={error}", f"env={name}.py:Env")
    with pytest.raises(BaseException, match="at once"):
        launch(*words, f"+observers.talks._target_={tmp_path}/{name}.py:Talks")
    known = json.loads(Path("run/run.json").read_text())
    assert (known["state"], known["episodes"]) == ("failed", 3)
    assert error in known["error"]
    assert Path("closed").exists()


@pytest.mark.parametrize(
    ("error", "state"), [("Falsy", "failed"), ("Frozen", "failed"), ("LeavesWith256", "stopped")]
)
def test_an_odd_exception_is_no_success(as_a_child, tmp_path, error, state):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "odd.py").write_text(PANIC)
    words = ("agent=odd.py:Raises", f"agent.error={error}", "env=odd.py:Env", "hydra.run.dir=run")
    done = as_a_child(words, tmp_path)
    assert done.returncode == 1
    assert state == "stopped" or "at once" in done.stderr
    assert done.stderr.count("Traceback") <= 2  # its own, and what it refused
    known = json.loads((tmp_path / "run/run.json").read_text())
    assert (known["state"], known["episodes"], known["result"]) == (state, 3, None)
    assert (tmp_path / "closed").exists()


LEAVES = """
import sys
from gym_loop.agents import RandomAgent

class AtOnce(RandomAgent):
    def __init__(self, **given):
        sys.exit()

class Later(RandomAgent):
    def metrics(self, episode_num):
        if episode_num == 2:
            sys.exit(self.parameters["code"])

    @staticmethod
    def get_default_parameters():
        return {"code": None}
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("agent=leaves.py:AtOnce", 1, "SystemExit (leaves.py:7)"),
        ("agent=leaves.py:Later agent.code=0", 1, "SystemExit: 0 (leaves.py:12)"),
        ("agent=leaves.py:Later agent.code=3", 3, "SystemExit: 3 (leaves.py:12)"),
    ],
)
def test_whoever_leaves_a_run_is_named_once_and_its_rows_are_counted(
    as_a_child, tmp_path, words, code, said
):
    (tmp_path / "leaves.py").write_text(LEAVES)
    done = as_a_child([*words.split(), "env=cartpole", "hydra.run.dir=run"], tmp_path)
    assert done.returncode == code
    assert done.stderr.splitlines() == [f"the run has not come to its end: {said}"]
    known = json.loads((tmp_path / "run/run.json").read_text())
    table = tmp_path / "run/episodes.csv"
    assert known["episodes"] == (len(rows(tmp_path / "run")) if table.exists() else 0)


def test_ctrl_c_before_anything_is_written_is_told_as_such_and_the_run_begins_later(
    launch, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gym_loop.observers.manifest.described", interrupted)
        with pytest.raises(KeyboardInterrupt):
            launch("env=cartpole")
    assert not Path("run/run.json").exists()
    launch("env=cartpole")
    assert json.loads(Path("run/run.json").read_text())["state"] == "finished"


MUTE = """
import gymnasium as gym
from gymnasium import spaces
from gym_loop.agents import RandomAgent

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("not a word")

class Raises(RandomAgent):
    def act(self, state, episode_num):
        raise Mute

class Env(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}
    observation_space = action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, 1.0, True, False, {}

    def render(self):
        raise Mute
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("-m agent=mute.py:Raises seed=0,1", 1, "seed=0  Mute  "),
        ("loop.record=true", 0, "Env cannot render: Mute; if it needs"),
    ],
)
def test_an_exception_without_words_is_named_by_its_class(as_a_child, tmp_path, words, code, said):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    (tmp_path / "mute.py").write_text(MUTE)
    done = as_a_child([*words.split(), "env=mute.py:Env"], tmp_path)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


SCRIPT = """
import sys
from gym_loop.agents import RandomAgent

class Mine(RandomAgent):
    pass

sys.exit(0)
"""


@pytest.mark.parametrize(
    "words",
    [
        "agent=script.py:Mine hydra.run.dir=run",
        "-m agent=script.py:Mine seed=1,2 hydra.sweep.dir=run",
        "+observers.mine._target_=script.py:Mine hydra.run.dir=run",
        "agent=script.py:Mine --cfg job",
        "create-default --agent script.py:Mine --run-config run",
    ],
)
def test_a_script_that_leaves_when_it_is_imported_for_its_class_is_no_success(
    as_a_child, tmp_path, words
):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = as_a_child(words.split(), tmp_path)
    assert done.returncode == 1
    assert 'script.py", line 8' in done.stderr
    assert not (tmp_path / "run").exists()


HANGS = """
        raise OSError("the simulator hangs")

class Few(Env):
    made = 0

    def __init__(self):
        Few.made += 1
        if Few.made > 3:
            raise RuntimeError("no licence is left")

class Refuses(RandomAgent):
    def __init__(self, **arguments):
        raise RuntimeError("no licence for an agent")
"""


@pytest.fixture
def hangs(tmp_path, request):
    """The file of an environment whose `close` raises, after it has noted that it was called."""
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    name = f"hangs_{abs(hash(request.node.name))}.py"
    note = 'open("closed", "a").write("once ")'
    (tmp_path / name).write_text(PANIC.replace('open("closed", "w").close()', note) + HANGS)
    return name


@pytest.mark.parametrize(
    ("words", "reason", "closed"),
    [
        (("agent=FILE:Raises", "agent.error=ValueError", "loop.episodes_per_eval=2"), "at once", 2),
        (("agent=random",), "the simulator hangs", 2),
        (("agent=FILE:Refuses",), "no licence for an agent", 1),
        (("agent=random", "loop=vector", "loop.num_envs=3"), "the simulator hangs", 4),
        (("agent=random", "loop=vector", "env=FILE:Few"), "no licence is left", 3),
    ],
)
def test_every_environment_is_closed_and_the_first_reason_is_told(
    launch, hangs, words, reason, closed
):
    given = [word.replace("FILE", hangs) for word in (f"env={hangs}:Env", *words)]
    with pytest.raises(Exception, match=reason):
        launch(*given)
    assert Path("closed").read_text().count("once") == closed
    known = json.loads(Path("run/run.json").read_text())
    assert known["state"] == "failed"
    assert reason in known["error"]


def test_a_close_that_panics_and_cannot_say_why_hides_no_reason(launch, tmp_path):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    worse = """
        raise Speechless

class Speechless(BaseException):
    def __str__(self):
        raise RuntimeError
    __repr__ = __str__
"""
    (tmp_path / "panics_in_close.py").write_text(PANIC + worse)
    words = ("agent=panics_in_close.py:Raises", "agent.error=ValueError")
    with pytest.raises(ValueError, match="at once"):
        launch(*words, "env=panics_in_close.py:Env")
    known = json.loads(Path("run/run.json").read_text())
    assert (known["state"], known["error"]) == ("failed", "ValueError: at once")


SPEECHLESS = """
from gym_loop.agents import RandomAgent

class Number:  # which the check of what is no number shows
    def __float__(self):
        raise TypeError

    def __repr__(self):
        raise RuntimeError

class Speechless(Exception):
    @property
    def __notes__(self):
        raise RuntimeError

class Counts(RandomAgent):
    def metrics(self, episode_num):
        return {"loss": Number()}

class Raises(RandomAgent):
    def end_episode(self, episode_num, truncated):
        raise Speechless
"""


@pytest.mark.parametrize("agent", ["Counts", "Raises"])
def test_a_run_has_failed_also_where_it_cannot_be_shown_why(child, tmp_path, agent):
    (tmp_path / "speechless.py").write_text(SPEECHLESS)
    done = child(f"agent=speechless.py:{agent}", "env=cartpole", "hydra.run.dir=run")
    assert done.returncode == 1
    known = json.loads((tmp_path / "run/run.json").read_text())
    assert (known["state"], bool(known["error"])) == ("failed", True)


@pytest.mark.parametrize("error", ["Panic", "ValueError"])
def test_what_was_raised_is_said_once(error, tmp_path, as_a_child):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "panics.py").write_text(PANIC)
    words = ["agent=panics.py:Raises", f"agent.error={error}", "env=panics.py:Env"]
    done = as_a_child(words, folder)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.count("at once") == 2  # the line of code and the exception
    assert "stopped" not in done.stdout
    assert "finished" not in done.stdout


def test_a_run_whose_last_rows_cannot_be_written_has_not_finished(launch, tmp_path):
    (tmp_path / "fills.py").write_text(
        "import os\n"
        "from gym_loop.agents import RandomAgent\n"
        "class Fills(RandomAgent):\n"
        "    def end_episode(self, number, truncated):\n"
        "        if not self.training:\n"
        "            os.makedirs('run/evaluations.csv', exist_ok=True)\n"
    )
    with pytest.raises(Failure, match=r"cannot write .*evaluations\.csv"):
        launch("agent=fills.py:Fills", "env=cartpole", "loop.eval_episodes=2")
    assert json.loads(Path("run/run.json").read_text())["state"] == "failed"
    assert len(rows(Path("run"))) == 5


FORKS = """
import os, sys, time
from gym_loop.agents import RandomAgent

class Forks(RandomAgent):
    def __init__(self, **spaces):
        super().__init__(**spaces)
        if os.environ.get("CHILD") == "comes back from the constructor" and os.fork():
            os.wait()

    def end_episode(self, number, truncated):
        child = os.environ.get("CHILD")
        if number != 2 or not self.training or child not in ("comes back", "leaves late"):
            return
        if os.fork():
            if child == "comes back":
                os.wait()  # it would be the first to write
        elif child == "leaves late":
            while '"finished"' not in open("run/run.json").read():
                time.sleep(0.02)
            sys.exit()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("child", ["comes back", "comes back from the constructor", "leaves late"])
def test_what_an_agent_forks_writes_nothing_of_the_run(cli, tmp_path, child):
    (tmp_path / "forks.py").write_text(FORKS)
    words = ("agent=forks.py:Forks", "env=cartpole", "loop.max_episodes=6", "loop.eval_episodes=1")
    assert cli(*words, "hydra.run.dir=untouched").returncode == 0

    done = cli(*words, "hydra.run.dir=run", environment={"CHILD": child})  # waits for the child

    assert done.returncode == 0, done.stderr
    assert ("came back into the loop" in done.stderr) is (child != "leaves late")
    assert list(compare.differences(tmp_path / "run", tmp_path / "untouched")) == []
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("rewards", "ret"),
    [("[inf, -inf]", "nan"), ("[1.5e308] * 3", "inf"), ("[-1.5e308] * 3", "-inf")],
)
def test_returns_that_are_no_numbers_are_warned_of_and_the_run_goes_on(
    launch, tmp_path, rewards, ret
):
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    name = f"huge_{len(rewards)}_{ret.strip('-')}"
    (tmp_path / f"{name}.py").write_text(
        "from math import inf\n" + PANIC + f"    rewards = {rewards}\n"
        "    def step(self, action):\n"
        "        self.t = getattr(self, 't', -1) + 1\n"
        "        n = len(self.rewards)\n"
        "        return 0, self.rewards[self.t % n], self.t % n == n - 1, False, {}\n"
    )
    for loop in ("default", "vector"):
        run = launch(
            *("agent=random", f"env={name}.py:Env", f"loop={loop}", "loop.max_episodes=3"),
            *("loop.eval_episodes=2", "loop.episodes_per_eval=2"),
            directory=loop,
        )
        assert {row["return"] for row in rows(run)} == {ret}
        known = json.loads((run / "run.json").read_text())
        assert known["state"] == "finished"
        assert any("the return of episode" in line for line in known["warnings"])


def test_the_exact_sum_stays_exact():
    from gym_loop.sums import total

    assert total([0.1] * 10) == 1.0
    assert total([1e308, 1e308, -1e308]) in (1e308, float("inf"))
    assert total([sys.float_info.max, 1.0]) == sys.float_info.max
