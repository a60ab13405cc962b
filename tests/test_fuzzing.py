"""Whatever is typed, and whatever has happened to a run's directory: no traceback, no hang.

Exit codes are 0, 1 and 2 alone. `pytest -m slow` tries a thousand cases of each.
"""

import json
import os
import shutil
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gym_loop

CASES, FEW = 1000, 25
# Appended to what is made up, so that what turns out to be sound ends soon and leaves nothing.
SHORT = ["loop.max_episodes=1", "loop.max_episode_len=2", "loop.eval_episodes=0"]

KEYS = [
    *("agent", "env", "loop", "seed", "observers", "experiment", "sink", "agent.lr", "env.id"),
    *("env.kwargs", "env.kwargs.g", "env.imports", "env._target_", "agent._target_"),
    *("loop.max_steps", "loop.max_time", "loop.render", "loop.logdir", "loop.keep_checkpoints"),
    *("loop.on_nan", "loop.record_every", "observers.progress", "observers.watchdog", "hydra"),
    *("hydra.job.name", "hydra/launcher", "hydra.verbose", "loop.max_episode", "env@agent", "@"),
]
VALUES = [
    *("random", "pendulum", "cartpole", "default", "null", "true", "0", "-1", "3", "1.5", "nan"),
    *(
        "inf",
        "1e6",
        "[]",
        "{}",
        "[1,2]",
        "{a:1}",
        "???",
        "${seed}",
        "${nope}",
        "${loop}",
        "${",
        "}",
    ),
    *("gym:CartPole-v1", "gym:Nope-v0", "gymnasium:CartPole-v1", ":", "a:", ":b", "a.b", "a.py:B"),
    *("os:path", "math.pi", "os.getcwd", "builtins:dict", "''", "'", '"', "1,2", "range(3)"),
    *("choice(1,2)", "int(x)", "sort(3,1)", "${oc.env:NOPE}", "${now:%Y}", "\\\\", "a=b", "~"),
]
FLAGS = ["-m", "--cfg", "job", "--resolve", "-c", "--info", "--version", "-p", "--package", "-r"]
text = st.text(
    alphabet=string.ascii_letters + string.digits + "._:/=+~@${}[](),'\"\\ -*%é\n", max_size=12
)
PACKAGE = Path(gym_loop.__file__).parent
keys = st.one_of(st.sampled_from(KEYS), text)
values = st.one_of(st.sampled_from(VALUES), text)
overrides = st.builds(
    lambda prefix, key, value: f"{prefix}{key}={value}",
    st.sampled_from(["", "", "", "+", "++", "~"]),
    keys,
    values,
)
words = st.one_of(overrides, overrides, overrides, text, st.sampled_from(FLAGS))
command_lines = st.lists(words, min_size=1, max_size=3)


def cases(count):
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def assert_in_order(done):
    assert done.returncode in (0, 1, 2), (done.args, done.returncode, done.stderr)
    # A library may fail of what it was asked for (env.kwargs.g=random): from its own frame on.
    if "Traceback" in done.stderr:
        first = next(line for line in done.stderr.splitlines() if line.startswith("  File"))
        assert (done.returncode, str(PACKAGE) in first) == (1, False), (done.args, done.stderr)
    assert "Traceback" not in done.stdout, (done.args, done.stdout)
    if done.returncode == 2:
        assert len(done.stderr.splitlines()) == 1, (done.args, done.stderr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, as_a_child):
    """The directory of a run, and a folder to work in."""
    folder = tmp_path_factory.mktemp("fuzzing")
    done = as_a_child(
        ["env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1", "hydra.run.dir=run"], folder
    )
    assert done.returncode == 0, done.stderr
    return folder / "run"


def anything_may_be_typed(as_a_child, folder, line):
    place = ["hydra.run.dir=fuzz", "hydra.sweep.dir=fuzz", "observers=none"]
    # `--cfg` and the like take what follows for their own.
    line = [word.replace("\0", "") for word in line]
    assert_in_order(as_a_child([*line, *SHORT, *place], folder))
    shutil.rmtree(folder / "fuzz", ignore_errors=True)


def anything_may_have_happened(as_a_child, run, command, damages):
    folder = run.parent / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(run, folder / "run", symlinks=True)
    for damage in damages:
        damage(folder / "run")
    assert_in_order(as_a_child(command, folder))


def files_of(run):
    return sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())


def cut(file, at, _):
    os.truncate(file, int(file.stat().st_size * at))


def zero(file, *_):
    file.write_bytes(bytes(file.stat().st_size))


def flip(file, at, _):
    content = bytearray(file.read_bytes())
    if content:
        content[int((len(content) - 1) * at)] ^= 1 << int(at * 7)
        file.write_bytes(content)


def remove(file, *_):
    file.unlink()


def swap(file, *_):
    file.unlink()
    file.mkdir()


def fill(file, _, value):
    file.write_text(json.dumps(value))


def edit(file, at, value):
    """Put `value` somewhere into a JSON file that is sound."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):  # damaged before
        return
    holders = [(content, key) for key in content] if isinstance(content, dict) else []
    for holder, key in holders:
        if isinstance(holder[key], dict):
            holders += [(holder[key], inner) for inner in holder[key]]
    if holders:
        holder, key = holders[int((len(holders) - 1) * at)]
        holder[key] = value
        file.write_text(json.dumps(content))


json_values = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    *map(st.just, ([], {}, [{}], {"_target_": 3}, {"_target_": "os.getcwd"})),
)
damages = st.builds(
    lambda how, which, at, value: (
        lambda run: how(files_of(run)[int((len(files_of(run)) - 1) * which)], at, value)
    ),
    st.sampled_from([cut, zero, flip, remove, swap, fill]),
    st.floats(0, 1),
    st.floats(0, 1),
    json_values,
)
edits = st.builds(
    lambda at, value: lambda run: edit(run / "run.json", at, value), st.floats(0, 1), json_values
)
commands = st.sampled_from(
    [
        *(["resume", "run"], ["resume", "run", "loop.max_episodes=4"], ["resume", "run", "seed=3"]),
        *(["evaluate", "run"], ["fork", "run", "seed=3", "hydra.run.dir=fork", *SHORT]),
        *(["fork", "run", "--at", "3", "seed=3", "hydra.run.dir=fork", *SHORT],),
        *(["ls", "."], ["ls", "run", "--json"], ["diff", "run", "../run"], ["report", "run"]),
        *(["replay", "run"], ["replay", "run", "--episode", "1"], ["export", "run", "data.npz"]),
        *(["env=cartpole", "loop.eval_episodes=1", "loop.max_episodes=3", "hydra.run.dir=run"],),
    ]
)
damage_lists = st.lists(st.one_of(damages, edits), min_size=1, max_size=3)


@pytest.mark.slow
@cases(FEW)
@given(line=command_lines)
def test_anything_may_be_typed(as_a_child, finished, line):
    anything_may_be_typed(as_a_child, finished.parent, line)


@pytest.mark.slow
@cases(FEW)
@given(command=commands, damage=damage_lists)
def test_anything_may_have_happened_to_a_runs_directory(as_a_child, finished, command, damage):
    anything_may_have_happened(as_a_child, finished, command, damage)


@pytest.mark.long
@cases(CASES)
@given(line=command_lines)
def test_a_thousand_command_lines(as_a_child, finished, line):
    anything_may_be_typed(as_a_child, finished.parent, line)


@pytest.mark.long
@cases(CASES)
@given(command=commands, damage=damage_lists)
def test_a_thousand_damaged_directories(as_a_child, finished, command, damage):
    anything_may_have_happened(as_a_child, finished, command, damage)
