"""How a run's config is kept, checked against the outside, and shown."""

import json
import os
import subprocess

import numpy as np
import omegaconf
import pytest
from omegaconf import OmegaConf

from gym_loop.config import kept, secrets
from gym_loop.literal import literal
from gym_loop.runs import checkpoints, claim

QUICK = ("env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")
TO_FILE = ("--run-config", "made.yaml")
# An agent that writes down each parameter it is given, with its type, in the working directory.
AGENT = """
from gym_loop.agents import BaseAgent

class Noting(BaseAgent):
    @staticmethod
    def get_default_parameters():
        return {"x": None, "rate": 0.5, "shape": (2, 3)}

    def __init__(self, observation_space, action_space, **given):
        super().__init__(observation_space, action_space, **given)
        with open("noted.txt", "a") as file:
            print(repr(self.parameters["x"]), self.parameters["rate"], file=file)

    def act(self, state, episode_num):
        return self.action_space.sample()

    def memorize(self, *transition):
        pass

    def update(self, episode_num):
        pass
"""


@pytest.fixture
def run(tmp_path, as_a_child, monkeypatch):
    """Run `gym-loop WORDS` in a folder with `noting.py`."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "noting.py").write_text(AGENT)

    def go(*words, folder=folder, code=0, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = as_a_child([*map(str, words)], folder)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    go.folder = folder
    return go


def noted(run):
    return (run.folder / "noted.txt").read_text().splitlines()


@pytest.mark.parametrize(
    "text",
    ["${seed}", "a\\${b}", "open ${ only", "x\\\\${y}", "${a}\\", "${${}", "$${x}", "plain\\", ""],
)
def test_a_text_that_is_escaped_is_read_as_it_was(text):
    content = {"a": text, "b": [text]}
    read = OmegaConf.to_container(OmegaConf.create(literal(content)), resolve=True)
    assert read == content


@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    [
        r'agent.x="\${seed}"',
        "agent.x={1: one, 2.5: half}",
        "agent.x={true: t}",
        "agent.x='1e-3'",
        "agent.x='on'",
        r"agent.x={deep: [{k: '\${a}'}]}",
    ],
)
def test_a_value_is_the_same_in_a_run_its_resume_and_its_evaluation(run, word):
    run("agent=noting.py:Noting", *QUICK, word, "hydra.run.dir=r")
    run("resume", "r", "loop.max_episodes=2")
    run("evaluate", "r")
    run("fork", "r", "loop.max_episodes=3", "hydra.run.dir=f")
    run("agent=noting.py:Noting", *QUICK, word, "loop.max_episodes=4", "hydra.run.dir=r")
    assert len(noted(run)) == 5
    assert len(set(noted(run))) == 1


@pytest.mark.slow
def test_the_same_command_again_is_the_same_run_where_a_list_holds_nan(run):
    for _ in range(2):
        run("agent=noting.py:Noting", "agent.x=[nan,{a: nan}]", *QUICK, "hydra.run.dir=r")
    assert noted(run) == ["[nan, {'a': nan}] 0.5"]  # the second launch has nothing to do


def test_true_in_the_place_of_1_is_another_config():
    assert claim.leaves_that_differ({"x": 1}, {"x": True}) == [("x", 1, True)]
    assert claim.leaves_that_differ({"x": 1}, {"x": 1.0}) == []


@pytest.mark.slow
def test_defaults_that_no_yaml_holds_are_the_classs_own_in_a_run_and_after_it(run):
    (run.folder / "apart.py").write_text(
        "import enum, gym, numpy as np\nfrom noting import Noting\n\n"
        "class Mode(enum.IntEnum):\n    FAST = 1\n\n"
        "OWN = [Mode.FAST, {Mode.FAST: 1}, {1, 2}, np.float64(0.5), np.float32, len, {None: 2}]\n\n"
        "class Apart(Noting):\n    @staticmethod\n    def get_default_parameters():\n"
        "        return {'x': OWN, 'rate': np.float64(1)}\n\n"
        "class Env(gym.Env):\n"
        "    observation_space = action_space = gym.spaces.Discrete(2)\n\n"
        "    def __init__(self, mode=Mode.FAST, own=OWN, dtype=np.float32, size=2):\n"
        "        print(repr((mode, own, dtype, size)), file=open('noted.txt', 'a'))\n\n"
        "    def reset(self, **_):\n        return 0, {}\n\n"
        "    def step(self, action):\n        return 0, 1.0, True, False, {}\n"
    )
    words = "agent=apart.py:Apart", "env=apart.py:Env", *QUICK[1:]
    run(*words, "hydra.run.dir=r")
    told = set(noted(run))
    assert len(told) == 2
    assert all("<Mode.FAST: 1>" in line for line in told)
    run("resume", "r", "loop.max_episodes=2")
    run("evaluate", "r")
    run("export", "r", "r.npz")
    run("fork", "r", "env.size=3", "loop.max_episodes=3", "hydra.run.dir=f")
    assert set(noted(run)) == {*told, *(line.replace(", 2)", ", 3)") for line in told)}
    run("create-default", *("--agent", "apart.py:Apart", "--env", "apart.py:Env"), *TO_FILE)
    (run.folder / "noted.txt").unlink()
    run("train", "-c", "made.yaml", "loop.max_episodes=1", "hydra.run.dir=t")
    assert set(noted(run)) == told


def test_what_no_yaml_holds_is_refused_where_a_resolver_brings_it_for_a_launch(run):
    (run.folder / "modes.py").write_text(
        "import enum\nfrom noting import Noting\nfrom omegaconf import OmegaConf\n\n"
        "Mode = enum.Enum('Mode', 'FAST SLOW')\n"
        "OmegaConf.register_new_resolver('mode', lambda *_: Mode.FAST, replace=True)\n"
        "class Moded(Noting):\n    pass\n"
    )
    words = "agent=modes.py:Moded", "agent.x='${mode:${hydra:job.name}}'", *QUICK
    said = run(*words, "hydra.run.dir=r", code=2)
    assert said == "gym-loop: agent.x is <Mode.FAST: 1>, and no YAML holds <Mode.FAST: 1>\n"
    assert not (run.folder / "r").exists()


def test_bytes_and_keys_of_every_kind_survive_the_file(run):
    (run.folder / "conf" / "agent").mkdir(parents=True)
    (run.folder / "conf" / "agent" / "noting.yaml").write_text(
        "_target_: noting.py:Noting\nx: {1: a, 0.5: b, false: c, !!binary aGk=: !!binary AAE=}\n"
    )
    run("agent=noting", *QUICK, "hydra.run.dir=r")
    run("resume", "r", "loop.max_episodes=2")
    assert set(noted(run)) == {"{1: 'a', 0.5: 'b', False: 'c', b'hi': b'\\x00\\x01'} 0.5"}


@pytest.mark.slow
def test_what_a_yaml_leaves_out_is_kept_and_the_class_typed_is_the_same_run(run):
    (run.folder / "conf" / "agent").mkdir(parents=True)
    (run.folder / "conf" / "agent" / "brief.yaml").write_text("_target_: noting.py:Noting\nx: 3\n")
    run("agent=brief", "~observers.watchdog.episodes_of_one_action", *QUICK, "hydra.run.dir=r")
    kept = OmegaConf.load(run.folder / "r" / "config.yaml")
    assert kept.agent == {"_target_": "noting.py:Noting", "x": 3, "rate": 0.5}
    assert kept.observers.watchdog.episodes_of_one_action == 100
    run("agent=brief", *QUICK, "hydra.run.dir=r")
    run("resume", "r", "loop.max_episodes=2", "agent.rate=0.5")
    assert "agent.rate=0.1 would change" in run("resume", "r", "agent.rate=0.1", code=2)


@pytest.mark.slow
def test_the_defaults_of_a_class_whose_file_was_mended_are_found_in_the_same_process(tmp_path):
    file = tmp_path / "mended.py"
    file.write_text("class Mended(\n")
    assert kept.defaults(f"{file}:Mended") == {}
    file.write_text("class Mended:\n    def __init__(self, rate=0.5): pass\n")
    assert kept.defaults(f"{file}:Mended") == {"rate": 0.5}


@pytest.mark.slow
def test_a_value_from_the_environment_that_has_changed_is_refused_and_named(run):
    words = ("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r")
    run(*words, "agent.x=${oc.env:GRAVITY}", GRAVITY="10")
    run("resume", "r", "loop.max_episodes=2", GRAVITY="10")
    for command in (
        ("resume", "r", "loop.max_episodes=3"),
        ("evaluate", "r"),
        ("replay", "r", "--every", "1"),
        ("export", "r", "out.npz"),
        (*words, "agent.x=${oc.env:GRAVITY}", "loop.max_episodes=2"),
    ):
        [line] = run(*command, code=2, GRAVITY="20").splitlines()
        assert "agent.x comes from ${oc.env:GRAVITY}" in line
        assert "20" not in line
    run("resume", "r", "loop.max_episodes=3", "agent.x='10'", GRAVITY="20")
    assert noted(run) == ["'10' 0.5"] * 3


def test_a_key_that_is_a_number_is_not_taken_for_one_that_reads_like_it(run):
    keys = "c.d: '${oc.env:A}', c: {d: '${oc.env:B}'}"
    if omegaconf.__version__ < "2.4":  # which refuses such keys in one mapping
        keys += ", 1: '${oc.env:A}', '1': '${oc.env:B}'"
        keys += ", e: {true: '${oc.env:A}', 'True': '${oc.env:B}'}"
    (run.folder / "conf" / "agent").mkdir(parents=True)
    (run.folder / "conf" / "agent" / "keys.yaml").write_text(
        f"_target_: noting.Noting\nx: {{{keys}}}\n"
    )
    run("agent=keys", *QUICK, "hydra.run.dir=r", A="a", B="b")
    run("resume", "r", "loop.max_episodes=2", A="a", B="b")
    said = run("evaluate", "r", A="a", B="c", code=2)
    assert "agent.x.c.d comes from ${oc.env:B}, which is not what it was" in said


@pytest.mark.slow
@pytest.mark.parametrize("text", ["${path:${oc.env:WHERE}}", "${${name}:WHERE}"])
def test_a_value_from_the_environment_that_has_changed_is_refused_whatever_brings_it(run, text):
    with (run.folder / "noting.py").open("a") as file:
        file.write(
            "\nimport pathlib\nfrom omegaconf import OmegaConf\n"
            "OmegaConf.register_new_resolver('path', pathlib.Path, replace=True)\n"
        )
    words = "agent=noting.py:Noting", *QUICK, f"agent.x='{text}'", "+name=oc.env"
    words = words if "name" in text else words[:-1]
    run(*words, "hydra.run.dir=r", WHERE="a")
    for command in (("resume", "r", "loop.max_episodes=2"), ("evaluate", "r"), ("replay", "r")):
        said = run(*command, WHERE="b", code=2)
        assert "agent.x comes from ${oc.env:WHERE}, which is not what it was" in said
    run("resume", "r", "loop.max_episodes=2", WHERE="a")


@pytest.mark.slow
def test_a_fork_warns_of_a_value_from_the_environment_that_has_changed(run):
    run("agent=noting.py:Noting", *QUICK, "agent.x=${oc.env:G}", "hydra.run.dir=r", G="10")
    said = run("fork", "r", "loop.max_episodes=2", "hydra.run.dir=f", G="20")
    assert "warning: agent.x comes from ${oc.env:G}, which has changed since" in said
    assert noted(run) == ["'10' 0.5", "'20' 0.5"]


@pytest.mark.slow
def test_a_seed_from_the_environment_does_not_continue_another_run(run):
    words = ("agent=random", *QUICK, "seed='${oc.decode:${oc.env:TASK}}'", "hydra.run.dir=r")
    run(*words, TASK="1")
    run(*words, TASK="1")
    [line] = run(*words, code=2, TASK="2").splitlines()
    assert "seed comes from ${oc.env:TASK}" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["${hydra:job.name}", "${hydra.job.name}"])
def test_what_refers_to_the_launch_is_what_it_was_then(run, name):
    words = (f"agent.x={name}-${{now:%f}}", "hydra.job.name=first", "hydra.run.dir=r")
    run("agent=noting.py:Noting", *QUICK, *words)
    run("resume", "r", "loop.max_episodes=2")
    assert len(set(noted(run))) == 1
    assert noted(run)[0].startswith("'first-")


@pytest.mark.slow
def test_what_follows_a_limit_follows_it_and_is_said(run):
    run("agent=noting.py:Noting", *QUICK, "agent.x=${loop.max_episodes}", "hydra.run.dir=r")
    assert "agent.x follows loop.max_episodes: 2 instead of 1" in run(
        "resume", "r", "loop.max_episodes=2"
    )
    run("fork", "r", "loop.max_episodes=4", "hydra.run.dir=f")
    assert noted(run) == ["1 0.5", "2 0.5", "4 0.5"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [("${oc.select:hydra.job.name}", "'first'"), ("${oc.dict.keys:hydra.sweep}", "['dir', ")],
)
def test_what_an_other_resolver_takes_from_the_launch_is_kept_as_a_value(text, seen, run):
    run(
        "agent=noting.py:Noting",
        *QUICK,
        f"agent.x={text}",
        "hydra.job.name=first",
        "hydra.run.dir=r",
    )
    run("resume", "r", "loop.max_episodes=2")
    lines = noted(run)
    assert len(lines) == 2
    assert len(set(lines)) == 1
    assert lines[0].startswith(seen)


def test_a_key_that_others_refer_to_cannot_change_the_past(run):
    run("agent=noting.py:Noting", *QUICK, "+mine=1", "agent.x=${mine}", "hydra.run.dir=r")
    [line] = run("resume", "r", "mine=2", code=2).splitlines()
    assert "agent.x follows mine" in line


@pytest.mark.slow
def test_a_project_that_was_moved_goes_on_and_an_override_says_where_a_class_is(run, tmp_path):
    run("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r")
    moved = run.folder.rename(tmp_path / "moved")
    run("resume", "r", "loop.max_episodes=2", folder=moved)
    (moved / "lib").mkdir()
    (moved / "noting.py").rename(moved / "lib" / "noting.py")
    [line] = run("resume", "r", "loop.max_episodes=3", folder=moved, code=2).splitlines()
    assert "say where it is now: agent._target_=path/to/noting.py:Noting" in line
    where = "agent._target_=lib/noting.py:Noting"
    run("resume", "r", "loop.max_episodes=3", where, folder=moved)
    run("evaluate", "r", folder=moved)
    assert OmegaConf.load(moved / "r" / "config.yaml").agent._target_ == "lib/noting.py:Noting"


@pytest.mark.slow
def test_an_override_says_what_a_class_s_file_is_called_now(run):
    """Beside it is an environment whose file had the name that the agent's had."""
    (run.folder / "env").mkdir()
    (run.folder / "env" / "noting.py").write_text(
        "from gymnasium.envs.classic_control import CartPoleEnv\n\nclass Hall(CartPoleEnv): ...\n"
    )
    keeping = AGENT.replace("        with open", "        self.note = Note()\n        with open")
    (run.folder / "noting.py").write_text(f"{keeping}\n\nclass Note: ...\n")
    words = ("agent=noting.py:Noting", *QUICK, "env=env/noting.py:Hall", "hydra.run.dir=r")
    run(*words)
    (run.folder / "noting.py").rename(run.folder / "renamed.py")
    where = "agent._target_=renamed.py:Noting"
    run("evaluate", "r", where)
    run("fork", "r", "agent=renamed.py:Noting", "loop.max_episodes=2", "hydra.run.dir=f")
    run("resume", "r", where, "loop.max_episodes=2")
    run("resume", "r", "loop.max_episodes=3")
    kept_as = OmegaConf.load(run.folder / "r" / "config.yaml").agent._target_
    assert kept_as == "renamed.py:Noting"
    assert len((run.folder / "r" / "episodes.csv").read_text().splitlines()) == 4


def test_a_replay_where_a_moved_environment_is_not_found_says_where_it_was_looked_for(
    run, tmp_path
):
    (run.folder / "hall.py").write_text(
        "from gym.envs.classic_control import CartPoleEnv\n\nclass Hall(CartPoleEnv): ...\n"
    )
    run(*QUICK, "env=hall.py:Hall", "hydra.run.dir=r")
    moved = run.folder.rename(tmp_path / "moved")
    [line] = run("replay", "moved/r", folder=tmp_path, code=2).splitlines()
    assert "no file" in line
    assert line.endswith("where the run was launched, then in the current folder")
    run("replay", "r", folder=moved)


@pytest.mark.slow
def test_a_resolver_of_the_agents_file_is_there_in_sweeps_and_for_every_command(run):
    resolver = "OmegaConf.register_new_resolver('twice', lambda a: 2 * a, replace=True)"
    text = f"from omegaconf import OmegaConf\n{resolver}\n{AGENT}"
    (run.folder / "noting.py").write_text(text)
    words = ("agent=noting.py:Noting", *QUICK, "agent.x='${twice:${seed}}'")
    run(*words, "seed=3", "hydra.run.dir=r")
    for command in ("replay", "evaluate"):
        run(command, "r")
    run("-m", *words, "seed=4,5", "hydra.sweep.dir=s")
    assert noted(run)[0] == "6 0.5"
    assert {"8 0.5", "10 0.5"} <= {*noted(run)}
    (run.folder / "noting.py").write_text(text.replace("2 * a", "3 * a"))
    run("replay", "r", code=2)


@pytest.mark.slow
def test_a_resolver_of_an_observers_file_is_there_for_the_agent(run):
    (run.folder / "watching.py").write_text(
        "from gym_loop import Observer\n"
        "from omegaconf import OmegaConf\n"
        "OmegaConf.register_new_resolver('twice', lambda a: 2 * a, replace=True)\n"
        "class Watching(Observer):\n"
        "    pass\n"
    )
    words = ("agent=noting.py:Noting", "+observers.own._target_=watching.py:Watching", *QUICK)
    run(*words, "agent.x='${twice:${seed}}'", "seed=3", "hydra.run.dir=r")
    run("evaluate", "r")
    assert noted(run) == ["6 0.5"] * 2


@pytest.mark.slow
def test_a_resolver_that_brings_another_value_each_time_is_refused_unless_it_is_cached(run):
    resolver = "OmegaConf.register_new_resolver('next', iter(range(99)).__next__)"
    text = f"from omegaconf import OmegaConf\n{resolver}\n{AGENT}"
    (run.folder / "noting.py").write_text(text)
    words = ("agent=noting.py:Noting", *QUICK, "agent.x=${next:}", "hydra.run.dir=r")
    [line] = run(*words, code=2).splitlines()
    assert "agent.x is ${next:} (command line): another value each time" in line
    assert "use_cache=True" in line and not (run.folder / "r").exists()
    (run.folder / "noting.py").write_text(text.replace("__next__", "__next__, use_cache=True"))
    run(*words)
    kept = json.loads((run.folder / "r" / "run.json").read_text())["config"]["agent"]["x"]
    assert noted(run) == [f"{kept} 0.5"]


@pytest.mark.slow
def test_a_schedule_over_the_runs_length_is_noted_by_resume_and_by_fork(run):
    words = ("env=cartpole", "loop.max_steps=20", "loop.eval_episodes=1", "hydra.run.dir=r")
    run("agent=noting.py:Noting", *words, "agent.x=${loop.max_steps}", "agent.rate=${seed}")
    note = "note: agent.x follows loop.max_steps: 60 instead of 20. A schedule over it"
    assert note in run("fork", "r", "loop.max_steps=60", "seed=3", "hydra.run.dir=longer")
    assert "note" not in run("fork", "r", "seed=3", "hydra.run.dir=other")
    assert note in run("resume", "r", "loop.max_steps=60")


@pytest.mark.slow
def test_a_key_may_refer_to_one_beside_it_or_to_one_of_the_users_by_any_resolver(run):
    words = "+own={a: 1}", "agent.x=['${..rate}','${oc.dict.values:own}','${...own.a}']"
    run("agent=noting.py:Noting", *QUICK, *words, "hydra.run.dir=r")
    run("resume", "r", "loop.max_episodes=2")
    run("fork", "r", "loop.max_episodes=3", "hydra.run.dir=f")
    assert noted(run) == ["[0.5, [1], 1] 0.5"] * 3


@pytest.mark.parametrize(
    "words", [["agent.x=${oc.select:loop.max_steps,7}"], ["+n=${loop.max_steps}", "agent.x=${n}"]]
)
def test_a_schedule_over_the_runs_length_is_noted_however_it_refers_to_that(run, words):
    words = ("env=cartpole", "loop.max_steps=20", "loop.eval_episodes=1", *words)
    run("agent=noting.py:Noting", *words, "hydra.run.dir=r")
    assert "note: agent.x follows loop.max_steps: 60 instead of 20" in run(
        "fork", "r", "loop.max_steps=60", "hydra.run.dir=longer"
    )


def test_a_secret_that_a_class_has_as_its_default_is_not_kept(run):
    default = '"api_key": __import__("os").environ["KEY_OF_MINE"]'
    (run.folder / "noting.py").write_text(AGENT.replace('"rate": 0.5', f'"rate": 0.5, {default}'))
    words = ("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r")
    run(*words, KEY_OF_MINE="Bro1")
    run("fork", "r", "agent.rate=2", "hydra.run.dir=f", KEY_OF_MINE="Bro1")
    run("agent=noting.py:Noting", *QUICK, "agent.api_key=Typed", "hydra.run.dir=typed")
    assert OmegaConf.load(run.folder / "typed/config.yaml").agent.api_key == "Typed"
    for folder in ("r", "f"):
        config = OmegaConf.load(run.folder / folder / "config.yaml")
        assert "rate" in config.agent
        assert "api_key" not in config.agent
        for file in (run.folder / folder).rglob("*.yaml"):
            assert "Bro1" not in file.read_text(), file


@pytest.mark.slow
def test_a_run_of_an_older_version_goes_on(run):
    words = ("agent=noting.py:Noting", *QUICK, r"agent.x='\${seed}'", "hydra.run.dir=r")
    run(*words)
    (run.folder / "r" / "config.yaml").unlink()
    known = json.loads((run.folder / "r" / "run.json").read_text())
    del known["digests"], known["config"]["agent"]["rate"]
    (run.folder / "r" / "run.json").write_text(json.dumps(known))
    run(*words)
    run("resume", "r", "loop.max_episodes=2")
    assert noted(run) == ["'${seed}' 0.5"] * 2


@pytest.mark.slow
def test_a_pipe_in_the_place_of_a_kept_config_or_a_checkpoints_state_holds_nobody_up(run):
    run("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r")
    state = next((run.folder / "r" / "checkpoints").glob("episode-*/state.json"))
    state.unlink()
    os.mkfifo(state)
    assert checkpoints.read_state(state.parent) is None
    (run.folder / "r" / "config.yaml").unlink()
    os.mkfifo(run.folder / "r" / "config.yaml")
    for words in (("resume", "r", "loop.max_episodes=4"), ("replay", "r"), ("evaluate", "r")):
        assert "cannot read r/config.yaml: [Errno 22] not a regular file" in run(*words, code=2)


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("env.token", "abc", True),
        ("env.kwargs.API-KEY", "abc", True),
        ("sink.authToken", "abc", True),
        ("db_password", 1234, True),
        ("agent.token_size", 64, False),
        ("agent.tokens", 64, False),
        ("sink.passwords", "abc", True),
        ("sink.api_keys", "abc", True),
        ("sink.http_auth", "abc", True),
        ("sink.pass", "abc", True),
        ("agent.passes", "abc", False),
        ("agent.keys", "abc", False),
        ("env.secret", None, False),
    ],
)
def test_secrets_are_told_by_their_names(key, value, secret):
    assert secrets.names_a_secret(key, value) is secret


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("+api_key=abc", "+api_key=(hidden)"),
        ("agent.token_size=1e3", "agent.token_size=1e3"),
        ("agent.x={api_key:abc,n:1}", "agent.x={api_key:(hidden),n:1}"),
        (
            "agent.x=[{user: 'me', auth-token: 'a, b'}]",
            "agent.x=[{user: 'me', auth-token: (hidden)}]",
        ),
        ("a={deep:{password:abc}}", "a={deep:{password:(hidden)}}"),
        ("a={where:postgres://me:abc@host/db}", "a={where:postgres://(hidden)@host/db}"),
        ("agent.x={tokens:64,lr:1e-3}", "agent.x={tokens:64,lr:1e-3}"),
        ("a={secret:{x:abc,y:[d]},n:1}", "a={secret:(hidden),n:1}"),
        ("a=[{token:[abc, '}'], b:2}, 3]", "a=[{token:(hidden), b:2}, 3]"),
        ("a={token:${oc.env:TOKEN},n:1}", "a={token:${oc.env:TOKEN},n:1}"),
        ("a='http://host/?token=abc&n=1'", "a='http://host/?token=(hidden)&n=1'"),
        ('a="Server=me;Password=abc;"', 'a="Server=me;Password=(hidden);"'),
        ("a=redis://:abc@host/0", "a=redis://(hidden)@host/0"),
        ("a=https://me:a@bc@host/", "a=https://(hidden)@host/"),
        ("a=https://ghp_0123456789abcdef@host/", "a=https://(hidden)@host/"),
        ("a=ssh://git@host/", "a=ssh://git@host/"),
        ("agent.x=${oc.env:TOKEN}", "agent.x=${oc.env:TOKEN}"),
        ("agent.token=${oc.env:TOKEN,abc}", "agent.token=(hidden)"),
        ("a={token:'${oc.env:TOKEN, abc}',n:1}", "a={token:(hidden),n:1}"),
        ("agent.token=${oc.env:TOKEN,null}", "agent.token=${oc.env:TOKEN,null}"),
    ],
)
def test_secrets_that_are_typed_are_hidden_in_mappings_too(word, expected):
    assert secrets.masked_words([word]) == [expected]


def test_whatever_comes_from_the_environment_or_from_a_secret_key_is_hidden(run):
    words = [
        *("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r", "+user=me"),
        *("+api_key=Typed1", "+also=${api_key}"),
        "agent.x={pin:'${oc.decode:${oc.env:PIN}}',more:'${oc.decode:${oc.env:MORE}}',"
        "whole:'${user} ${also}'}",
        "agent.rate='${oc.decode:${oc.env:RATE}}'",
        "loop.max_steps='${oc.decode:${oc.env:STEPS}}'",
    ]
    given = {"PIN": "918273645", "MORE": "[1.5, b, {c: 647382910}]", "STEPS": "4000"}
    said = run(*words, **given, RATE="Text1", code=2)
    assert "agent.rate is ${oc.decode:${oc.env:RATE}} (command line); expected a number" in said
    run(*words, **given, RATE="0.1250763")
    text = (run.folder / "r" / "run.json").read_text()
    assert not [
        secret for secret in ("918273645", "647382910", "0.1250763", "Typed1") if secret in text
    ]
    config = json.loads(text)["config"]
    assert (config["user"], config["loop"]["max_steps"]) == ("me", 4000)
    assert config["agent"]["x"]["pin"].startswith("(hidden ")


def test_a_refusal_shows_no_secret_that_a_key_has_by_way_of_another_one(run):
    words = ("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r", "agent.x=a-${oc.env:WHERE}-z")
    said = run(*words, "agent.rate=${agent.x}", WHERE="Bro1", code=2)
    assert "agent.rate is '(hidden " in said
    assert "Bro1" not in said
    said = run(*words, "+api_key=Typed1", "agent.rate=${api_key}", WHERE="Bro1", code=2)
    assert "agent.rate is '(hidden)' (command line); expected a number" in said


def test_a_secret_is_hidden_where_another_key_has_it_in_a_list_or_as_a_number(run):
    words = "+login={password: Typed1, pin: {secret: 918273645}}", "seed=3"
    x = "{all:'${oc.dict.values:login}',pin:'${login.pin.secret}',made:'${oc.create:[${seed}]}'}"
    run("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r", *words, f"agent.x={x}")
    config = json.loads((run.folder / "r" / "run.json").read_text())["config"]
    assert config["agent"]["x"] == {"all": "(hidden)", "pin": "(hidden)", "made": [3]}


def test_a_number_below_a_secret_name_hides_no_other_value(run):
    words = "agent.x={pad_token:0,name:'run-${seed}'}", "seed=10"
    run("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r", *words)
    config = json.loads((run.folder / "r" / "run.json").read_text())["config"]
    assert config["agent"]["x"] == {"pad_token": "(hidden)", "name": "run-10"}


def test_no_file_but_what_composes_the_config_has_a_secret_in_clear(run):
    (run.folder / "conf" / "loop").mkdir(parents=True)
    (run.folder / "conf" / "loop" / "mine.yaml").write_text(
        "defaults: [default]\nmax_episodes: 1\neval_episodes: 1\n"
    )
    words = ("agent=noting.py:Noting", "env=cartpole", "loop=mine", "hydra.run.dir=r")
    run(*words, "agent.x=${oc.env:WHERE}", "+api_key=Typed1", "agent.rate=${api_key}", code=2)
    (run.folder / "noting.py").write_text(AGENT.replace('"rate": 0.5', '"rate": "none"'))
    run(*words, "agent.x=${oc.env:WHERE}", "+api_key=Typed1", "agent.rate=${api_key}", WHERE="Bro1")
    run(*words, "agent.x=${oc.env:WHERE}", "+api_key=Typed1", "agent.rate=${api_key}")
    found = subprocess.run(
        ["grep", "-rlE", "Bro1", "r"], cwd=run.folder, capture_output=True, text=True, check=False
    )
    # The agent itself keeps what it was given.
    assert {line.split("/")[-1] for line in found.stdout.split()} <= {"agent.pkl"}
    view = json.loads((run.folder / "r" / "run.json").read_text())
    assert "Typed1" not in json.dumps(
        [view["overrides"], view["command"], view["config"]["api_key"]]
    )
    assert view["config"]["agent"]["x"].startswith("(hidden ")


@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1", "hydra.sweep.dir=r")])
def test_an_error_of_the_agents_has_no_secret_on_the_terminal_or_in_a_file(run, sweep):
    (run.folder / "noting.py").write_text(
        AGENT.replace(
            'print(repr(self.parameters["x"]), self.parameters["rate"], file=file)',
            "raise ConnectionError(f'no answer: {self.parameters[\"x\"]}')",
        )
    )
    x = "{url:'${oc.env:DB}',password:Typed1,more:'a-${oc.env:WHERE}-z',data:'${oc.env:DATA}'}"
    words = ("agent=noting.py:Noting", *QUICK, f"agent.x={x}")
    given = {"DB": "pg://me:Pass1234@host/db", "WHERE": "Bro1", "DATA": str(run.folder)}
    said = run(*words, *(sweep or ["hydra.run.dir=r"]), code=1, **given)
    assert not [each for each in ("Pass1234", "Typed1", "Bro1") if each in said]
    assert "no answer: {'url': '(hidden" in said
    logs = [*run.folder.glob("r/**/gym_loop.log")]
    for file in [*run.folder.glob("r/**/run.json"), *logs]:
        text = file.read_text()
        assert not [each for each in ("Pass1234", "Typed1", "Bro1") if each in text], file
        assert "no answer: {'url': '(hidden" in text
    assert all("noting.py" in log.read_text() for log in logs)  # the traceback is all there
    assert all(f"'data': '{run.folder}'" in log.read_text() for log in logs)


@pytest.mark.slow
def test_a_refusal_tells_no_secret_that_the_run_or_the_sweep_was_launched_with(run):
    words = ("agent=noting.py:Noting", *QUICK, "agent.x={url:'pg://me:Pass1@h/d',password:Typed1}")
    run(*words, "hydra.run.dir=r")
    run("-m", *words, "seed=0,1", "hydra.sweep.dir=s")
    for change in ("agent.x=null", "agent.x.url=a", "agent.x=[{token:New1}]"):
        for directory in "rs":
            said = run("resume", directory, change, code=2)
            assert not [each for each in ("Pass1", "Typed1", "New1") if each in said]
    assert "New1" not in run(*words, "agent.rate={token:New1}", code=2)
    assert "New1" not in run(*words, "agent.x.password=[New1", code=2)


def test_a_run_that_works_in_its_own_directory_does_so_again_wherever_its_project_is(run, tmp_path):
    words = ("agent=noting.py:Noting", *QUICK, "hydra.job.chdir=true", "hydra.run.dir=out/r")
    run(*words)
    moved = run.folder.rename(tmp_path / "elsewhere")
    note = moved / "out" / "r" / "noted.txt"
    for command in (("resume", "out/r", "loop.max_episodes=2"), ("evaluate", "out/r")):
        lines = note.read_text().count("\n")
        run(*command, folder=moved)
        assert note.read_text().count("\n") > lines
    run("fork", "out/r", "hydra.run.dir=out/f", "loop.max_episodes=3", folder=moved)
    assert (moved / "out" / "f" / "noted.txt").exists() and not (moved / "noted.txt").exists()


def test_a_kept_config_that_was_cut_is_refused_by_whatever_begins_with_it(run):
    run("agent=noting.py:Noting", *QUICK, "seed=4", "hydra.run.dir=r")
    file = run.folder / "r" / "config.yaml"
    file.write_text(file.read_text().removesuffix("seed: 4\n"))
    for command in ("resume", "fork", "evaluate", "replay"):
        assert "r/config.yaml has no 'seed': it is damaged" in run(command, "r", code=2)


def test_a_kept_config_that_was_edited_is_refused_by_whatever_begins_with_it(run):
    run("agent=noting.py:Noting", "agent.x=1", *QUICK, "seed=4", "hydra.run.dir=r")
    file = run.folder / "r" / "config.yaml"
    whole = file.read_text()
    for line, instead, told in (
        ("  x: 1\n", "  x: 2\n", "agent.x=2, and the run was launched with agent.x=1:"),
        ("  x: 1\n", "", "~agent.x, and the run was launched with agent.x=1:"),
        ("  x: 1\n", "  x: 1\n  y: 1\n", "agent.y=1, and the run was launched with ~agent.y:"),
        ("  - 3\n", "  - 4\n", "agent.shape.1=4, and the run was launched with agent.shape.1=3:"),
        ("max_episode_len: 5000", "max_episode_len: 7", "loop.max_episode_len=7, and"),
        ("seed: 4", "seed: 5", "seed=5, and the run was launched with seed=4:"),
    ):
        file.write_text(whole.replace(line, instead))
        assert f"r/config.yaml has been edited: it says {told}" in run("evaluate", "r", code=2)
    for words in (("resume", "r", "loop.max_episodes=2"), ("fork", "r")):
        assert "r/config.yaml has been edited: it says seed=5" in run(*words, code=2)
    file.write_text(whole)
    run("resume", "r", "loop.max_episodes=2")


def test_a_launch_that_was_killed_between_the_files_that_keep_its_config_is_resumed(run):
    run("agent=noting.py:Noting", *QUICK, "hydra.run.dir=r")
    file = run.folder / "r" / "config.yaml"
    file.write_text(file.read_text().replace("max_episodes: 1", "max_episodes: 2"))
    run("resume", "r", "loop.max_episodes=3")
    assert json.loads((run.folder / "r" / "run.json").read_text())["episodes"] == 3


def test_defaults_of_every_kind_are_looked_at_for_secrets():
    array = np.zeros(3)
    known = {"weights": array, "token": array, "api_key": "???", "password": "x", "rate": 0.5}
    assert list(secrets.without(known)) == ["weights", "api_key", "rate"]
