"""The makers make what is asked for, in silence, or say in one line what is wrong."""

import contextlib
import importlib.util
import subprocess
import sys

import pytest

from gym_loop.envs import (
    EnvError,
    MissingDependencyError,
    check_id,
    known_ids,
    make_gym,
    make_gymnasium,
)

needs_gymnasium = pytest.mark.skipif(
    not importlib.util.find_spec("gymnasium"), reason="gymnasium is not installed"
)


def without(package):
    """Skip a test of what is said when `package` is missing, where it is not."""
    return pytest.mark.skipif(
        bool(importlib.util.find_spec(package)), reason=f"{package} is installed"
    )


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("Pendulm-v1", "gym has no environment 'Pendulm-v1'; did you mean 'Pendulum-v1'?"),
        ("cartpole-v1", "gym has no environment 'cartpole-v1'; did you mean 'CartPole-v1'?"),
        ("Pendulum-v0", "gym has no environment 'Pendulum-v0' in that version; use 'Pendulum-v1'"),
        ("CartPole-v9", "gym has no environment 'CartPole-v9' in that version; use 'CartPole-v1'"),
        (
            "ALE/Zork-v5",
            "gym has no environment 'ALE/Zork-v5', nor one like it:"
            " add the package that registers it to env.imports",
        ),
        (
            "no_such_module:Zork-v5",
            "no module 'no_such_module' to import for the environment 'no_such_module:Zork-v5'",
        ),
    ],
)
@pytest.mark.parametrize("ask", [make_gym, lambda id: check_id("gym", id)], ids=["make", "check"])
def test_an_unknown_id_is_named_with_what_to_write_instead(ask, id, message):
    with pytest.raises(EnvError) as raised:
        ask(id)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("library", "id", "advice"),
    [
        ("gymnasium", "Pong-v5", "; did you mean 'ALE/Pong-v5'?"),
        ("gymnasium", "Pong", "; did you mean 'ALE/Pong-v5'?"),
        ("gymnasium", "PongNoFrameskip-v4", ", but ale_py registers it: env.imports=[ale_py]"),
        ("gym", "ALE/Pong-v5", "; did you mean gymnasium:ALE/Pong-v5?"),
    ],
)
def test_an_id_of_an_installed_package_is_found(library, id, advice):
    pytest.importorskip("ale_py", reason='needs the extra: pip install "gym-loop[atari]"')
    asked = f"from gym_loop.envs.make import check_id; check_id({library!r}, {id!r})"
    asked = [sys.executable, "-c", asked]
    told = subprocess.run(asked, check=False, stderr=subprocess.PIPE, text=True).stderr
    assert told.rstrip().endswith(f"{library} has no environment {id!r}{advice}")


def test_known_ids_are_sorted_and_all_pass_the_check():
    ids = known_ids("gym")
    assert ids == sorted(ids)
    assert {"CartPole-v0", "CartPole-v1", "Pendulum-v1"} <= set(ids)
    for id in ids:
        with contextlib.suppress(MissingDependencyError):  # of Box2D and MuJoCo
            check_id("gym", id)


@pytest.mark.filterwarnings("error")
def test_an_id_without_version_is_the_newest_and_an_old_one_is_taken_without_a_warning():
    assert make_gym("CartPole").spec.id == "CartPole-v1"
    assert make_gym("CartPole-v0").spec.id == "CartPole-v0"


def test_an_id_may_name_the_module_that_registers_it(tmp_path, monkeypatch):
    check_id("gym", "CartPole-v1")
    (tmp_path / "registers_maze.py").write_text(
        "import gym\n"
        "gym.register('Maze-v3', entry_point='gym.envs.toy_text.frozen_lake:FrozenLakeEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert make_gym("registers_maze:Maze-v3").spec.id == "Maze-v3"


def test_a_fault_inside_the_module_that_registers_an_id_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "registers_faulty.py").write_text("import a_package_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        make_gym("registers_faulty:Maze-v3")


def test_kwargs_reach_the_environment_and_those_of_gym_make_reach_gym():
    assert make_gym("Pendulum-v1", {"g": 9.81}).unwrapped.g == 9.81
    assert make_gym("FrozenLake-v1", {"map_name": "8x8"}).observation_space.n == 64
    env = make_gym("Pendulum-v1", {"max_episode_steps": 2})
    env.reset()
    assert [env.step([0.0])[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("id", "name", "message"),
    [
        ("Pendulum-v1", "mass", "Pendulum-v1 has no keyword argument 'mass'; it takes g"),
        (
            "FrozenLake-v1",
            "map_nam",
            "FrozenLake-v1 has no keyword argument 'map_nam'; did you mean 'map_name'?",
        ),
        ("CartPole-v1", "zork", "CartPole-v1 has no keyword argument 'zork'; it takes none"),
    ],
)
def test_an_unknown_keyword_argument_is_named_with_what_there_is(id, name, message):
    with pytest.raises(EnvError) as raised:
        make_gym(id, {name: 1})
    assert str(raised.value) == message


def test_an_environment_made_by_a_function_takes_any_keyword_the_function_takes(register):
    make_gym("Pendulum-v1")
    from gym.envs.classic_control import PendulumEnv

    id = register(lambda **kwargs: PendulumEnv(g=kwargs["gravity"]))
    assert make_gym(id, {"gravity": 1.6}).unwrapped.g == 1.6


def test_an_environment_of_the_old_api_is_handed_over_as_it_is(register):
    make_gym("CartPole-v1")
    import gym

    class Old(gym.Env):
        action_space = observation_space = gym.spaces.Discrete(2)

        def reset(self):
            return 0

        def step(self, action):
            return 1, 0.0, False, {}

    env = make_gym(register(Old))
    assert env.reset() == 0
    assert env.step(0) == (1, 0.0, False, {})


@without("Box2D")
def test_a_dependency_that_gym_misses_is_named_with_a_way_to_install_it():
    with pytest.raises(
        MissingDependencyError, match=r"^LunarLander-v2 .*not installed.* box2d .*$"
    ):
        make_gym("LunarLander-v2")


@without("mujoco")
def test_a_dependency_that_is_missed_by_the_constructor_is_named_too():
    with pytest.raises(MissingDependencyError, match=r"^Ant-v4 cannot be made: .*mujoco.*$"):
        make_gym("Ant-v4")


def test_a_missing_gymnasium_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingDependencyError) as raised:
        make_gymnasium("CartPole-v1")
    assert str(raised.value) == 'gymnasium is not installed: pip install "gym-loop[gymnasium]"'


@needs_gymnasium
def test_gymnasium_s_environments_are_made_without_the_per_step_checker():
    env = make_gymnasium("CartPole-v1", {"sutton_barto_reward": True})
    assert env.reset(seed=0)[0].shape == (4,)
    assert env.step(0)[1] == 0.0
    assert "PassiveEnvChecker" not in str(env)


@needs_gymnasium
def test_gymnasium_s_unknown_ids_and_arguments_are_named_like_gym_s():
    with pytest.raises(EnvError, match=r"^gymnasium has no .*; use 'LunarLander-v3'$"):
        make_gymnasium("LunarLander-v2")
    with pytest.raises(EnvError, match=r"^Pendulum-v1 has no .*; it takes g$"):
        make_gymnasium("Pendulum-v1", {"mass": 1})


def test_importing_the_package_imports_neither_library(fresh_python):
    code = "import sys, gym_loop.envs; print({'gym', 'gymnasium', 'pygame'} & set(sys.modules))"
    assert fresh_python(code) == "set()\n"


@needs_gymnasium
def test_making_an_environment_of_one_library_does_not_import_the_other(fresh_python):
    code = "import sys; from gym_loop.envs import {}; {}('CartPole-v1'); print('{}' in sys.modules)"
    assert fresh_python(code.format("make_gym", "make_gym", "gymnasium")) == "False\n"
    assert fresh_python(code.format("make_gymnasium", "make_gymnasium", "gym")) == "False\n"


def test_making_stepping_and_rendering_prints_nothing_at_all(fresh_python):
    code = (
        "from gym_loop.envs import make_gym\n"
        "for id in ('Pendulum-v1', 'Acrobot-v1', 'CartPole-v0', 'Taxi-v3'):\n"
        "    env = make_gym(id, render_mode='rgb_array')\n"
        "    env.reset(seed=0); env.step(env.action_space.sample()); env.render(); env.close()\n"
    )
    assert fresh_python(code) == ""


def test_a_package_that_imports_gym_and_pygame_while_a_run_is_launched_prints_nothing(fresh_python):
    code = "from gym_loop import launch\nwith launch.surroundings():\n    import gym, pygame"
    assert fresh_python(code) == ""


@pytest.mark.slow
def test_nor_does_one_that_a_run_config_names(fresh_python, tmp_path):
    (tmp_path / "mine.py").write_text("import gym\n\nclass Mine(gym.Env): ...\n")
    words = f"['--env', '{tmp_path}/mine.py:Mine', '--run-config', '{tmp_path}/run.yaml']"
    config = f"['-c', '{tmp_path}/run.yaml', '--cfg', 'job']"
    for command, given in (("create_default", words), ("train", config)):
        said = fresh_python(f"from gym_loop.commands import {command}\n{command}.main({given})")
        assert "unmaintained" not in said


def test_making_an_environment_hides_no_warning_of_the_user_s(fresh_python):
    code = (
        "import warnings, gym_loop.envs\n"
        "before = list(warnings.filters)\n"
        "gym_loop.envs.make_gym('Pendulum-v1')\n"
        "assert list(warnings.filters) == before\n"
        "warnings.warn('mine', DeprecationWarning)\n"
    )
    assert "DeprecationWarning: mine" in fresh_python(code)


def test_the_launcher_is_given_the_line_to_print_also_through_a_chain_of_errors():
    from gym_loop.envs.plugin import env_mistake

    outer = RuntimeError("Error in call to target")
    outer.__cause__ = EnvError("gym has no environment 'Zork-v0'")
    assert env_mistake(outer) == "gym has no environment 'Zork-v0'"
    assert env_mistake(RuntimeError("of the user's own")) is None


@pytest.mark.parametrize("maker", [make_gym, make_gymnasium])
def test_a_constructor_that_wants_a_tuple_is_given_one(maker, tmp_path, monkeypatch):
    library = maker.__name__.removeprefix("make_")
    pytest.importorskip(library)
    (tmp_path / f"pairs_{library}.py").write_text(
        f"import {library}\n"
        f"class Pairs({library}.Env):\n"
        f"    observation_space = action_space = {library}.spaces.Discrete(2)\n"
        "    def __init__(self, start=(1, 1), render_mode=None):\n"
        "        self.start = start\n"
        f"{library}.register(id='Pairs-v0', entry_point=Pairs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = maker("Pairs-v0", {"start": [2, 2]}, imports=[f"pairs_{library}"])
    assert env.unwrapped.start == (2, 2)
