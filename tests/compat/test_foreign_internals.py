"""Private names of foreign libraries stand in `gym_loop/compat/` alone, and are as expected."""

import ast
import copy
import importlib
import inspect
import logging
import re

import pytest
from hydra.core import utils
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
from hydra.core.singleton import Singleton
from hydra.errors import OverrideParseException

from gym_loop.compat import gymnasium, hydra, hydra_job, omegaconf, standard_library
from tests.core_size import PACKAGE, ROOT

PRIVATE = re.compile(r"_(?!_)(?!.*_$)\w+")  # `__init__` and `_target_` are promised
DOTTED = re.compile(r"[A-Za-z]\w*(\.\w+)+")
PROMISED = {"_asdict", "_replace", "_fields", "_exit"}  # of named tuples; of os
MODULES = [*sorted(PACKAGE.rglob("*.py")), ROOT / "gym_loop_files.py"]
COMPAT = sorted((PACKAGE / "compat").glob("*.py"))


def own(trees):
    """The private names that the package's classes and modules have by themselves."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield node.name
                for inner in node.body:
                    yield getattr(inner, "name", None)
            assigned = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if assigned and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
            if isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def private(name):
    return PRIVATE.fullmatch(name) and name not in PROMISED


def touches(tree, ours):
    """The private names of others that a module names: as attribute, import, argument or text."""
    ends = [  # of longer names, such as the `_fn` of `activation_fn`
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("with", "fix"))
        for argument in node.args
        for part in ast.walk(argument)
    ]
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("gym_loop"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
            names = [arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
        elif isinstance(node, ast.Constant) and DOTTED.fullmatch(str(node.value)):
            names = [part for part in str(node.value).split(".") if not part.endswith("_")]
        elif isinstance(node, ast.Constant) and node not in ends:
            names = [node.value]
        yield from ((n, node.lineno) for n in names if private(str(n)) and n not in ours)


@pytest.mark.slow
def test_no_module_but_those_of_compat_touches_private_names_of_others():
    trees = {file: ast.parse(file.read_text()) for file in MODULES}
    ours = set(own(trees.values()))
    found = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file, tree in trees.items()
        if file not in COMPAT
        for name, line in touches(tree, ours)
    ]
    assert not found, f"give these a function in gym_loop/compat that says why: {found}"


@pytest.mark.parametrize(
    "text",
    [
        "model._last_obs = 1",
        "from hydra._internal.utils import get_args_parser",
        "from hydra.core.utils import _flush_loggers",
        "import omegaconf._utils",
        "getattr(module, '_orig_mod', None)",
        "names = ['hydra._internal.logging_config']",
        "left_out = ('_last_obs',)",
    ],
)
def test_a_touch_is_found_however_it_is_written(text):
    assert list(touches(ast.parse(text), set()))


def test_each_touch_has_a_test():
    tests = "".join(file.read_text() for file in (ROOT / "tests/compat").glob("*.py"))
    for file in COMPAT:
        for name, line in touches(ast.parse(file.read_text()), set()):
            assert re.search(rf"\b{name}\b", tests), f"{file.name}:{line} {name}"


def parameters(function):
    return list(inspect.signature(function).parameters)


def importable(name):
    """What a dotted name of a module and a name in it leads to, or None."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute, None)


# What is touched, the parameters that it is expected to take, and where the reason stands.
FUNCTIONS = [
    ("hydra._internal.utils.get_args_parser", [], hydra.parser),
    ("hydra._internal.callbacks.Callbacks", ["config"], hydra.context),
    ("hydra.core.utils._flush_loggers", [], hydra_job.run_job),
    ("omegaconf._utils.get_omega_conf_dumper", [], omegaconf.representers),
]


@pytest.mark.parametrize(
    ("name", "takes", "used_by"), FUNCTIONS, ids=[name for name, *_ in FUNCTIONS]
)
def test_a_private_function_is_where_it_was(name, takes, used_by):
    found = importable(name)
    assert found is not None, f"{name} is gone: {used_by.__doc__}"
    assert [p for p in parameters(found) if p in takes] == takes, used_by.__doc__


def test_hydra_applies_overrides_to_a_config():
    loader = importable("hydra._internal.config_loader_impl.ConfigLoaderImpl")
    apply = getattr(loader, "_apply_overrides_to_config", None)
    assert apply, hydra.apply_values.__doc__
    assert parameters(apply) == ["overrides", "cfg"], hydra.apply_values.__doc__


def test_hydra_makes_its_list_of_defaults_in_one_place():
    repository = importable("hydra._internal.config_repository.ConfigRepository")
    assert hasattr(repository, "_create_defaults_list"), hydra.options_in_folders.__doc__
    with hydra.options_in_folders():
        assert repository._create_defaults_list.__module__ == hydra.__name__
    assert repository._create_defaults_list.__module__ != hydra.__name__


def test_hydra_reads_the_mappings_of_overrides_in_one_place():
    parser = OverridesParser.create()
    before = HydraOverrideVisitor.visitDictContainer
    with hydra.single_keys():
        for value in ("{a:1,a:2}", "{1:a,true:b}", "[{a:{b:1,b:1}}]", "{a:1},{a:1,a:2}"):
            with pytest.raises(OverrideParseException, match="found duplicate key"):
                parser.parse_overrides([f"key={value}"])
        [parsed] = parser.parse_overrides(["key=[{},{a:{a:1},b:{a:1}}]"])
        assert parsed.value() == [{}, {"a": {"a": 1}, "b": {"a": 1}}], hydra.single_keys.__doc__
    assert HydraOverrideVisitor.visitDictContainer is before


def test_hydra_keeps_a_jobs_failure_in_its_result():
    failed = utils.JobReturn(status=utils.JobStatus.FAILED)
    failed.return_value = error = ValueError("no")
    assert hydra.failure_of(failed) is error, hydra.failure_of.__doc__
    assert failed._return_value is error


def test_hydra_keeps_its_singletons_in_a_dict_by_their_classes():
    before = dict(Singleton._instances)
    runtime = utils.JobRuntime.instance()
    with hydra.own_state():
        assert utils.JobRuntime.instance() is not runtime, hydra.own_state.__doc__
    assert utils.JobRuntime.instance() is runtime, hydra.own_state.__doc__
    assert before.items() <= Singleton._instances.items()


@pytest.mark.parametrize("name", hydra.USED_BY_A_JOB)  # such as logging_config, omegaconf._impl
def test_hydra_imports_these_modules_in_a_job(name):
    package, _, last = name.rpartition(".")  # the former, `_instantiate2`, holds `instantiate`
    module = importlib.import_module(package)
    assert hasattr(module, last) or importlib.import_module(name), "a warm process has them"


def test_omegaconf_writes_yaml_by_representers_of_types():
    assert str in omegaconf.representers(), omegaconf.representers.__doc__


@pytest.mark.parametrize("library", ["gym", "gymnasium"])
def test_a_space_has_no_stream_until_it_is_seeded(library):
    space = importlib.import_module(library).spaces.Discrete(2)
    assert "_np_random" in vars(space)
    assert not gymnasium.has_stream(space)
    space.seed(0)
    assert gymnasium.has_stream(space)


@pytest.mark.slow
def test_a_vector_with_processes_has_a_state_and_is_closed_in_a_call_that_failed():
    lib = pytest.importorskip("gymnasium")
    env = lib.vector.AsyncVectorEnv([lambda: lib.make("CartPole-v1")] * 2)
    env.reset(seed=1)
    assert env._state.value == "default"
    env.processes[1].kill()
    with pytest.raises((EOFError, ConnectionError)):
        env.step(env.action_space.sample())
    assert env._state.value == "step"
    gymnasium.close_vector(env)
    assert not any(process.is_alive() for process in env.processes)


def test_logging_lists_its_handlers():
    handler = logging.NullHandler()
    found = [reference() for reference in logging._handlerList]
    assert handler in found, standard_library.handlers.__doc__
    assert standard_library.handlers() is logging._handlerList


def test_argparse_lists_what_was_added_to_a_parser():
    parser = hydra.parser()
    words = {word for action in standard_library.flags(parser) for word in action.option_strings}
    assert {"--multirun", "--cfg"} <= words, standard_library.flags.__doc__
    assert standard_library.flags(parser) is parser._actions


@pytest.mark.slow  # torch.compile imports for seconds
def test_a_compiled_module_of_pytorchs_has_what_it_was_made_from():
    torch = pytest.importorskip("torch", reason="needs PyTorch, which the extra sb3 brings")
    from gym_loop.compat.torch import uncompiled

    module = torch.nn.Linear(1, 1)
    compiled = torch.compile(module)
    assert compiled._orig_mod is uncompiled(compiled) is module, uncompiled.__doc__
    assert uncompiled(module) is None


# The touch, the algorithm and the parameters it is expected to take, and who says why.
OF_ALGORITHMS = [
    ("_setup_learn", "PPO", ["total_timesteps"], "set_up"),
    ("_update_current_progress_remaining", "PPO", ["num_timesteps", "total_timesteps"],
     "advance_schedules"),
    ("_sample_action", "SAC", ["learning_starts", "action_noise", "n_envs"], "sample"),
    ("_on_step", "DQN", [], "count_step"),
]  # fmt: skip


@pytest.fixture
def algorithms():
    return pytest.importorskip("stable_baselines3", reason="needs the extra sb3")


@pytest.fixture
def compat():
    return importlib.import_module("gym_loop.compat.stable_baselines3")


@pytest.mark.parametrize(("name", "algorithm", "takes", "used_by"), OF_ALGORITHMS)
def test_an_algorithm_has_a_private_method(algorithms, compat, name, algorithm, takes, used_by):
    method = getattr(getattr(algorithms, algorithm), name, None)
    reason = getattr(compat, used_by).__doc__
    assert method is not None, reason
    assert parameters(method)[1 : len(takes) + 1] == takes, reason


def test_an_algorithm_counts_under_the_names_that_are_set(algorithms, compat):
    model = algorithms.DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=10)
    compat.set_up(model, 100)
    assert vars(model)["_total_timesteps"] == 100, compat.set_total_timesteps.__doc__
    assert vars(model)["_episode_num"] == 0, compat.count_episode.__doc__
    assert vars(model)["_last_episode_starts"].all(), compat.swap_starts.__doc__
    before, observation = copy.copy(model._last_obs), model._last_obs + 1
    assert before is not None, compat.sample.__doc__

    compat.set_total_timesteps(model, 200)
    model.num_timesteps = 50
    compat.advance_schedules(model)
    assert vars(model)["_current_progress_remaining"] == 0.75, compat.advance_schedules.__doc__
    actions, stored = compat.sample(model, observation)
    assert actions.shape == stored.shape == (1,)
    assert model._last_obs is observation
    compat.count_episode(model)
    compat.count_step(model)
    assert model._episode_num == 1
    assert model._n_calls == 1, compat.count_step.__doc__
    assert compat.swap_starts(model, "next").all()
    assert model._last_episode_starts == "next"


def test_a_constructor_is_told_without_what_the_library_alone_gives(algorithms, compat):
    theirs = parameters(algorithms.SAC.__init__)
    assert "_init_setup_model" in theirs, compat.constructor.__doc__
    told = compat.constructor(algorithms.SAC)
    assert [*told] == [n for n in theirs if n not in ("self", "env", "_init_setup_model")]
    assert told["batch_size"] == 256


def test_a_model_has_these_attributes_of_an_episode_in_progress(algorithms, compat):
    model = algorithms.DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=10)
    assert compat.IN_PROGRESS == ("_last_obs", "_last_original_obs", "_last_episode_starts")
    assert set(compat.IN_PROGRESS) <= vars(model).keys()


def test_a_buffer_of_goals_has_an_array_with_a_row_for_each_environment(algorithms, compat):
    envs = importlib.import_module("stable_baselines3.common.envs")
    vectors = importlib.import_module("stable_baselines3.common.vec_env")
    model = algorithms.DQN(
        "MultiInputPolicy",
        vectors.DummyVecEnv([envs.BitFlippingEnv] * 3),
        replay_buffer_class=algorithms.HerReplayBuffer,
        buffer_size=300,
        device="cpu",
    )
    assert compat.OF_ENVIRONMENTS == ("_current_ep_start",)
    assert vars(model.replay_buffer)["_current_ep_start"].shape == (3,)


def test_a_recurrent_algorithm_has_the_states_of_its_policy(algorithms, compat):
    contrib = pytest.importorskip("sb3_contrib", reason="needs the extra sb3")
    model = contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu", n_steps=8)
    compat.set_up(model, 100)
    before = vars(model)["_last_lstm_states"]
    assert before is not None, compat.lstm_states.__doc__
    assert compat.starts(model).all(), compat.starts.__doc__
    assert compat.swap_lstm_states(model, "next") is before
    assert compat.lstm_states(model) == "next"


BOUNDED = ("hydra-core", "omegaconf", "stable-baselines3", "gymnasium", "tensorboard")


@pytest.mark.parametrize("library", BOUNDED)
def test_a_library_has_an_upper_bound_and_its_newest_is_tried_each_week(library):
    asked = re.findall(rf'"{library}[\[>][^"]*"', (ROOT / "pyproject.toml").read_text())
    assert asked
    assert all("<" in words for words in asked), asked
    weekly = (ROOT / ".github/workflows/newest.yml").read_text()
    newest = weekly.partition("pip install --upgrade")[2].partition("- run")[0]
    assert library in newest.split()
