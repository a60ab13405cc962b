"""`env.wrappers` and the options of `conf/wrap`."""

import gym
import gymnasium
import hydra
import pytest
from omegaconf import OmegaConf

from gym_loop import launch as launcher
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.envs.wrappers import frame_stack
from gym_loop.runs.run import Run

WRAPPERS = """
import gym, gymnasium

class Scaled(gymnasium.RewardWrapper):
    def __init__(self, env, factor: float = 2.0):
        super().__init__(env)
        self.factor = factor

    def reward(self, reward):
        return self.factor * reward

class Broken(gymnasium.Wrapper):
    def __init__(self, env):
        raise RuntimeError("not today")

class Forgetful(gymnasium.Wrapper):
    def reset(self, *, seed=None, options=None):
        return self.env.reset(options=options)

class Corridor(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2, 2))
    action_space = gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.low, {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.high, 1.0, self.steps == 7, False, {}
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(WRAPPERS)
    return tmp_path


def env_of(run):
    """The environment of a finished run, made again, and the names of its layers."""
    env = Run(run).env()
    layers, layer = [], env
    while layer is not None:
        layers.append(type(layer).__name__)
        layer = getattr(layer, "__dict__", {}).get("env")
    return env, layers


def test_wrappers_are_applied_in_their_order_innermost_first(launch):
    run = launch("env=gymnasium:CartPole-v1", "wrap=[frame_stack,flatten]", "loop.max_episodes=1")
    env, layers = env_of(run)
    assert layers.index("FlattenObservation") < layers.index("FrameStackObservation")
    assert env.observation_space.shape == (16,)
    other = launch("env=gymnasium:CartPole-v1", "wrap=[flatten,frame_stack]", directory="other")
    assert env_of(other)[0].observation_space.shape == (4, 4)


@pytest.mark.parametrize("option", ["cartpole", "gymnasium:CartPole-v1"])
def test_an_option_is_the_own_class_of_the_library_of_the_environment(option, launch):
    library = gym if option == "cartpole" else gymnasium
    words = ["frame_stack", "normalize_observation", "normalize_reward", "clip_reward", "flatten"]
    run = launch(f"env={option}", f"wrap=[{','.join(words)}]", "loop.eval_episodes=1")
    env, _ = env_of(run)
    own = 0
    while getattr(env, "env", None) is not None:
        own += type(env).__module__.startswith(f"{library.__name__}.wrappers")
        env = env.env
    assert own >= len(words)


def test_gymnasiums_spec_knows_the_wrappers(launch):
    run = launch(
        "env=gymnasium:CartPole-v1", "wrap=[frame_stack]", "env.wrappers.frame_stack.stack_size=3"
    )
    env, _ = env_of(run)
    [known] = env.spec.additional_wrappers
    assert known.name == "FrameStackObservation"
    assert known.kwargs["stack_size"] == 3


def test_an_own_wrapper_is_named_by_its_class(launch, mine):
    run = launch(
        "env=gymnasium:CartPole-v1",
        "wrap=[mine.py:Scaled]",
        "env.wrappers.Scaled.factor=5",
        "loop.max_episodes=1",
    )
    kept = OmegaConf.load(run / "config.yaml").env.wrappers.Scaled
    assert kept == {"_target_": "mine.py:Scaled", "factor": 5.0, "_partial_": True}
    assert env_of(run)[0].factor == 5.0


def test_a_wrapper_that_loses_the_seed_is_warned_of_once_in_each_run_and_replay_says_why_it_cannot(
    launch, child, mine
):
    words = "env=gymnasium:CartPole-v1", f"wrap=[{mine}/mine.py:Forgetful]"
    for directory in ("one", "another"):  # of one process
        run = launch(*words, "loop.max_episodes=3", directory=directory)
        (warning,) = Run(run).warnings
        assert warning.startswith("a wrapper resets the environment without the seed")
    assert "by a wrapper that loses it" in child("replay", run).stderr


@pytest.mark.parametrize("words", [["wrap=[own.py:x]"], ["env.wrappers.x._target_=own.py:x"]])
def test_the_environment_may_have_any_name_among_a_wrappers_arguments(words, launch, tmp_path):
    (tmp_path / "own.py").write_text(
        "import gymnasium\n"
        "def x(environment, most): return gymnasium.wrappers.TimeLimit(environment, most)\n"
    )
    run = launch("env=gymnasium:CartPole-v1", *words, "env.wrappers.x.most=3")
    assert (Run(run).episodes["length"] == 3).all()


def test_a_class_of_the_users_own_is_wrapped_as_any_environment(launch, mine):
    run = launch("env=mine.py:Corridor", "wrap=[flatten]", "loop.max_episodes=1")
    assert env_of(run)[0].observation_space.shape == (4,)


def test_the_command_line_needs_no_plus(launch):
    run = launch(
        "env=cartpole",
        "env.wrappers.short._target_=gym.wrappers.TimeLimit",
        "env.wrappers.short.max_episode_steps=5",
    )
    assert set(Run(run).episodes["length"]) == {5}


MORE = """
import gymnasium, numpy as np

class Images(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (12, 9, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self.render(), {}

    def step(self, action):
        return self.render(), 2.0, bool(action), False, {}

    def render(self):
        return np.zeros((12, 9, 3), np.uint8)

class Corners(gymnasium.Wrapper):
    def __init__(self, env, first=(1, 2), second=None, third: list | tuple = None):
        super().__init__(env)
        self.given = first, second, third

class Named(gymnasium.Wrapper):
    def __init__(self, environment, agent=1, num_envs=2):
        super().__init__(environment)
        self.named = agent, num_envs

class Curved(gymnasium.RewardWrapper):
    def __init__(self, env, curve=np.tanh, weights=np.ones(2), scale=np.int64(3)):
        super().__init__(env)
        self.factor = weights.sum() * scale

    def reward(self, reward):
        return reward * self.factor

class OfAShape(Images):
    def __init__(self, curve=np.tanh, shape=(2, 2), weights=np.ones(2)):
        super().__init__()
        self.shape = shape

class Listed(gymnasium.Wrapper):
    def __init__(self, env, notes):
        super().__init__(env)
        self.notes = notes
        notes.append(1)

    def step(self, action):
        step = self.env.step(action)
        return *step[:4], {"notes": len(self.notes)}

class Counted(gymnasium.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.resets, self.log, self.unwrapped.level = 0, [], 0

    def reset(self, **arguments):
        self.resets += 1
        self.log.append(self.resets)
        self.unwrapped.level += 1
        return self.env.reset(**arguments)

    def step(self, action):
        told = {"resets": self.resets, "log": len(self.log), "level": self.unwrapped.level}
        return *self.env.step(action)[:4], told

def half(reward):
    return reward / 2
"""


@pytest.fixture
def more(tmp_path):
    (tmp_path / "more.py").write_text(MORE)
    return ["env=more.py:Images", "agent=random", "loop.eval_episodes=0"]


def test_a_wrapper_that_wants_a_tuple_is_given_one(launch, more):
    pytest.importorskip("cv2", reason='needs the extra: pip install "gym-loop[atari]"')
    size = "env.wrappers.size._target_=gymnasium.wrappers.ResizeObservation"
    run = launch(*more, size, "env.wrappers.size.shape=[6,5]")
    env, _ = env_of(run)
    assert env.observation_space.shape == (6, 5, 3)
    corners = "env.wrappers.Corners"
    run = launch(
        *(*more, "wrap=[more.py:Corners]", f"{corners}.second=[3]", f"{corners}.third=[4]"),
        directory="lists",
    )
    assert env_of(run)[0].given == ((1, 2), [3], [4])


def test_an_argument_of_a_wrapper_may_be_a_function_or_an_object(launch, more):
    run = launch(
        *(*more, "env.wrappers.half._target_=gymnasium.wrappers.TransformReward"),
        "env.wrappers.half.func={_target_: more.py:half, _partial_: true}",
    )
    rows = Run(run).episodes
    assert (rows["agent_return"] == rows["return"] / 2).all()


@pytest.mark.parametrize(
    "word", ["wrap=[more.py:Curved]", "env.wrappers.x._target_=more.py:Curved"]
)
def test_a_default_that_no_yaml_holds_stays_the_wrappers_own(word, launch, more):
    rows = Run(launch(*more, word)).episodes
    assert (rows["agent_return"] == rows["return"] * 6).all()


def test_a_default_that_no_yaml_holds_stays_the_environments_own(launch, more):
    run = launch("env=more.py:OfAShape", *more[1:])
    assert env_of(run)[0].shape == (2, 2)


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_an_object_among_a_wrappers_arguments_is_each_environments_own(loop, launch, more):
    run = launch(
        *(*more, f"loop={loop}", "loop.info_keys=[notes]", "loop.max_episodes=4"),
        "env.wrappers.x={_target_: more.py:Listed, notes: {_target_: builtins.list}}",
    )
    assert (Run(run).episodes["notes"] == 1).all()


@pytest.mark.parametrize("order", ["Counted,time_limit", "time_limit,Counted"])
def test_a_wrapper_that_counts_resets_counts_each_once_where_a_time_limit_ends_it(
    order, launch, more
):
    run = launch(
        *(more[0], "agent=random", "loop.max_episodes=20", "loop.info_keys=[resets,log,level]"),
        f"wrap=[{order.replace('Counted', 'more.py:Counted')}]",
        "env.wrappers.time_limit.max_episode_steps=1",
    )
    rows = Run(run).episodes
    assert rows["truncated"].any()
    for key in ("resets", "log", "level"):
        assert rows[key].tolist() == list(range(1, 21))


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_what_a_wrapper_counts_goes_on_beside_one_of_gymnasiums_that_keeps_a_lambda(
    loop, launch, more
):
    words = more[0], "agent=random", f"loop={loop}", "wrap=[more.py:Counted,clip_reward]"
    words += "loop.info_keys=[resets]", "loop.eval_episodes=0"
    words += ("loop.num_envs=1", "loop.episodes_per_round=2") if loop == "vector" else ()
    launch(*words, "loop.max_episodes=4")
    run = Run(launch(*words, "loop.max_episodes=6"))
    counted = run.episodes["resets"].tolist()
    assert counted[4:] == [counted[3] + 1, counted[3] + 2]
    assert not run.warnings


def test_a_wrapper_that_needs_frames_has_them_of_an_environment_of_ones_own(launch, more):
    frames = "env.wrappers.frames._target_=gymnasium.wrappers.AddRenderObservation"
    run = launch(*more, frames, "env.render_mode=rgb_array")
    assert env_of(run)[0].observation_space.shape == (12, 9, 3)


def test_each_copy_of_loop_vector_is_wrapped(launch):
    run = launch(
        *("env=cartpole", "agent=random", "loop=vector", "loop.num_envs=3", "loop.max_episodes=6"),
        *("wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=4"),
    )
    assert set(Run(run).episodes["length"]) == {4}


def test_plain_hydra_builds_a_composed_environment():
    with hydra.initialize_config_dir(str(launcher.CONF), **launcher.VERSION_BASE):
        cfg = hydra.compose("config", ["env=cartpole", "wrap=[frame_stack,flatten]"])
    env = hydra.utils.instantiate(cfg.env)
    assert env.observation_space.shape == (16,)


@pytest.mark.parametrize("make", [make_gym, make_gymnasium])
def test_a_maker_takes_wrappers_as_functions(make):
    library = {"make_gym": gym, "make_gymnasium": gymnasium}[make.__name__]
    env = make("CartPole-v1", wrappers={"flat": library.wrappers.FlattenObservation})
    assert isinstance(env, library.wrappers.FlattenObservation)


def test_stacked_frames_are_the_same_in_each_environment_and_so_in_each_checkpoint():
    made = [make_gymnasium("CartPole-v1", wrappers={"stack": frame_stack}) for _ in range(2)]
    for layer in (0, 1):
        states = [env.observation_space.np_random.bit_generator.state for env in made]
        assert states[0] == states[1], layer
        made = [env.env.env for env in made]


@pytest.mark.slow
def test_a_sweep_varies_wrappers(cli, tmp_path):
    done = cli(
        "-m", "env=cartpole", "wrap=[],[frame_stack],[flatten,clip_reward]", "hydra.sweep.dir=s"
    )
    assert done.returncode == 0, done.stderr
    assert "3 done" in done.stdout
    kept = [
        OmegaConf.load(f).env.get("wrappers", {})
        for f in (tmp_path / "s").rglob("config.yaml")
        if f.parent.name != ".hydra"
    ]
    assert sorted(list(each) for each in kept) == [[], ["flatten", "clip_reward"], ["frame_stack"]]


@pytest.mark.slow
def test_a_fork_with_other_wrappers_has_those_alone(cli, launch, tmp_path):
    launch("env=cartpole", "wrap=[flatten,clip_reward]", "loop.max_episodes=2")
    done = cli("fork", "run", "wrap=[frame_stack]", "loop.max_episodes=3", "hydra.run.dir=fork")
    assert done.returncode == 0, done.stderr
    assert list(OmegaConf.load(tmp_path / "fork" / "config.yaml").env.wrappers) == ["frame_stack"]


STACK, OWN = "env.wrappers.frame_stack", "env.wrappers.own"
ODD = """
import gymnasium
from gymnasium.spaces import Box, Dict, Space

class Mission(Space):
    def __repr__(self):
        return "Mission"

class Odd(gymnasium.Env):
    observation_space, action_space = Dict(a=Mission(), b=Box(0, 1)), Box(0, 1)

def forgets(env):
    gymnasium.wrappers.FlattenObservation(env)

def renames(env):
    return Holder(env)

class Holder:
    def __init__(self, env):
        self.inner, self.metadata = env, {}
        self.observation_space, self.action_space = env.observation_space, env.action_space

def counts(env):
    return 3

def unwraps(env):
    return env.unwrapped
"""
GYMNASIUM = "env=gymnasium:CartPole-v1"
NEXT = "+env.vector_kwargs.autoreset_mode=NextStep"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wrap=[frame_stak]"], "no wrap 'frame_stak' (command line); did you mean 'frame_stack'?"),
        (["wrap=[flatten,flatten]"], "has 'flatten' twice"),
        (["wrap=[frame_stack]", f"{STACK}.stack_sise=3"], f"did you mean '{STACK}.stack_size'?"),
        (["wrap=[frame_stack]", f"{STACK}.stack_size=no"], "expected an integer"),
        (["wrap=[time_limit]"], "env.wrappers.time_limit.max_episode_steps is not given"),
        (["wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=no"], "an integer"),
        (["wrap=[time_limit]", "env.wrappers.time_limit.max_episode_steps=1.5"], "an integer"),
        (
            ["env.wrappers.x={_target_: gym.wrappers.TimeLimit, max_episode_steps: [3]}"],
            "env.wrappers.x.max_episode_steps is [3] (command line); expected an integer",
        ),
        (["env.wrappers=[flatten]"], "expected a mapping of names to wrappers"),
        (["env.wrappers=3"], "env.wrappers is 3 (command line); expected a mapping of names"),
        (["env.wrappers=true"], "expected a mapping of names to wrappers"),
        (["env.wrappers.x.size=3"], "env.wrappers.x has no _target_ (command line)"),
        (["env.wrappers.x._target_=gym.wrappers.Frame"], "gym.wrappers has no 'Frame'"),
        (["env.wrappers.x._target_=gymnasium.wrappers.ClipAction"], "ClipAction of gymnasium"),
        ([GYMNASIUM, "env.wrappers.x._target_=gym.wrappers.ClipAction"], "one of gymnasium"),
        (["env=gymnasium:Blackjack-v1", "wrap=[normalize_observation]"], "cannot wrap"),
        ([GYMNASIUM, "wrap=[stack_channels]"], "TypeError: expected images"),
        ([GYMNASIUM, "wrap=[odd.py:forgets]"], "env.wrappers.forgets returned None"),
        (
            [GYMNASIUM, "wrap=[odd.py:renames]"],
            "renames returned an object of Holder, which has not",
        ),
        ([GYMNASIUM, "wrap=[odd.py:counts]"], "env.wrappers.counts returned an object of int"),
        ([GYMNASIUM, "wrap=[odd.py:unwraps]"], "env.wrappers.unwraps returned an object of CartP"),
        (
            [GYMNASIUM, f"{OWN}._target_=gymnasium.wrappers.TransformReward", f"{OWN}.func=x.half"],
            "env.wrappers.own.func is 'x.half' (command line); expected a function: env.wrap",
        ),
        (["env=odd.py:Odd", "wrap=[flatten]"], "cannot flatten observations of Dict('a': Mission"),
        (["env=gymnasium_vector:CartPole-v1", "loop=vector", "wrap=[flatten]"], "env.mode=sync"),
        (["env=gymnasium_vector:Acrobot-v1", "loop=vector", "wrap=[flatten]", NEXT], "NextStep"),
    ],
    ids=lambda each: each[-1] if isinstance(each, list) else "",
)
def test_a_mistake_is_one_line_before_anything_starts(words, said, as_a_child, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "odd.py").write_text(ODD)
    done = as_a_child(["env=cartpole", *words, "hydra.run.dir=run"], tmp_path / "here")
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert said in line
    left = {path.name for path in (tmp_path / "here").iterdir()}
    assert left <= {"odd.py", "__pycache__"}


ATARI = ["env=gymnasium:ALE/Breakout-v5", "agent=random"]
ORDER = "innermost first: FlattenObservation, AtariPreprocessing, FrameStackObservation: Runtime"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["env.kwargs.frameskip=1", "wrap=[flatten,atari]"], ORDER),
        (["env.kwargs.frameskip=1", "wrap=[flatten,atari]", "loop=vector"], ORDER),
        (["wrap=[atari]"], "wrap=[atari] skips 4 frames, and so does the game: env.kwargs.frames"),
    ],
)
def test_wrappers_in_which_no_game_of_ataris_can_begin_are_one_line(
    words, said, as_a_child, tmp_path
):
    pytest.importorskip("ale_py", reason='needs the extra: pip install "gym-loop[atari]"')
    done = as_a_child([*ATARI, *words, "hydra.run.dir=run"], tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("gym-loop: ")]
    assert said in line
    assert "Traceback" not in done.stderr
    assert "resume" not in done.stdout


def test_what_an_own_wrapper_raises_is_shown_from_its_line_on(as_a_child, mine):
    done = as_a_child([GYMNASIUM, "wrap=[mine.py:Broken]", "hydra.run.dir=run"], mine)
    assert done.returncode == 1
    assert "not today" in done.stderr
    assert "mine.py" in done.stderr
