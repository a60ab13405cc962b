"""Traces are written while a run goes on, and cut back when it is resumed."""

import logging
import shutil
import signal
import time
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from gym_loop import files
from gym_loop.__main__ import dispatch
from gym_loop.agents import RandomAgent
from gym_loop.loops import DefaultLoop
from gym_loop.mistake import Failure
from gym_loop.observers import trace as observer
from gym_loop.runs import traces
from tests.conftest import left_by_a_killed_process, rows
from tests.sample_envs import Counter, Pair, Wide, Words

ENVS = Path(__file__).parents[1] / "sample_envs.py"


def play(directory, env, agent=RandomAgent, **parameters):
    """Train within this process, with nothing but traces; return the loop."""
    env.action_space.seed(0)
    made = agent(observation_space=env.observation_space, action_space=env.action_space)
    loop = DefaultLoop(made, env, **parameters)
    loop.directory, loop.observers = directory, {"trace": observer.Trace()}
    loop.notify("begin", loop)
    loop.train()
    loop.observers["trace"].close(None)
    return loop


def read_all(directory, kind="train"):
    found = traces.Traces(directory, kind)
    return [
        trace
        for file, numbers in found.chunks(found.episodes().tolist(), 10**9)
        for trace in traces.episodes(traces.load(file), numbers)
    ]


def files_of(directory):
    return {path.name: path.read_bytes() for path in (directory / "traces").iterdir()}


def test_every_episode_of_training_and_evaluation_is_kept_as_the_tables_have_it(launch):
    run = launch("env=cartpole", "loop.max_episodes=40", "loop.episodes_per_eval=15")
    for kind, table in (("train", "episodes.csv"), ("eval", "evaluations.csv")):
        kept, written = read_all(run, kind), rows(run, table)
        assert len(kept) == len(written) == (40 if kind == "train" else 30)
        for trace, row in zip(kept, written, strict=True):
            assert (trace.episode, trace.seed) == (int(row["episode"]), int(row["seed"]))
            assert trace.rewards.sum() == float(row["return"])
            assert (trace.terminated, trace.truncated) == (
                row["terminated"] == "1",
                row["truncated"] == "1",
            )
            assert {*trace.actions} <= {0, 1}


def test_a_step_of_cartpole_takes_less_than_ten_bytes(launch):
    run = launch("env=cartpole", "loop.max_episodes=300", "loop.eval_episodes=0")
    steps = sum(int(row["length"]) for row in rows(run))
    assert sum(map(len, files_of(run).values())) < 3 * steps


@pytest.mark.parametrize(
    "rewards",
    [
        [[1.0, 1.0], [1.0], [1.0, 1.0]],
        [[-1.0], [-1.0], [-1.0, -2.0]],
        [[1.0], [0.5, 0.5], [1.0, 1.0]],
        [[1], [np.float32(1.0)], [True]],
        [[0.1, np.float32(0.1)], [0.1], [np.float32(0.1)]],
        [[0.0], [-0.0], [0.0, -0.0]],
        [[np.nan, np.nan], [np.nan]],
    ],
)
@pytest.mark.parametrize("full", [1, 3, 100])
def test_rewards_alike_for_a_while_are_kept_to_the_last_bit(tmp_path, monkeypatch, rewards, full):
    class Given(Counter):
        def reset(self, *, seed=None, options=None):
            self.length = lengths.pop(0)
            return super().reset(seed=seed)

        def reward(self, action):
            return given.pop(0)

    lengths = [len(episode) for episode in rewards]
    given = [reward for episode in rewards for reward in episode]
    expected = np.array(given, np.float64)
    monkeypatch.setattr(observer, "STEPS_PER_FILE", full)
    play(tmp_path, Given(), max_episodes=len(rewards))
    kept = np.concatenate([trace.rewards for trace in read_all(tmp_path)])
    assert kept.tobytes() == expected.tobytes()


def test_no_trace_is_kept_when_none_is_wanted(launch):
    assert not (launch("loop.trace=false", "loop.max_episodes=2") / "traces").exists()


@pytest.mark.parametrize("kind", [Pair, Wide])
def test_actions_with_parts_and_of_several_types_are_kept_as_the_environment_got_them(
    tmp_path, kind
):
    class Mixed(RandomAgent):
        def act(self, state, episode_num):
            action = super().act(state, episode_num)
            given = action.astype(np.float64) if kind is Wide and state[0] % 3 == 0 else action
            got.append(given)
            return given

    got = []
    env = kind()
    play(tmp_path, env, Mixed, max_episodes=7)
    kept = kept_actions(tmp_path)
    assert len(kept) == len(got) == 70
    for back, action in zip(kept, got, strict=True):
        if kind is Wide:
            assert back.dtype == action.dtype
            assert np.array_equal(back, action)
        else:
            assert back[0] == action[0]
            assert back[1]["left"].dtype == np.float32
            assert np.array_equal(back[1]["left"], action[1]["left"])
            assert np.array_equal(back[1]["right"], action[1]["right"])


class Acts(RandomAgent):
    """Does what `given` returns for the number of the step in the run."""

    def act(self, state, episode_num):
        self.count = getattr(self, "count", -1) + 1
        return self.given(self.count)


def kept_actions(directory):
    return [action for trace in read_all(directory) for action in trace.actions]


class Takes(Counter):
    """Takes any action, and tells what its number is."""

    def __init__(self, space, number=float):
        super().__init__(length=5)
        self.action_space, self.number = space, number

    def reward(self, action):
        return self.number(action)


@pytest.mark.parametrize("later", [0, 1, 1200])
def test_actions_that_cannot_be_kept_cost_one_warning_and_leave_no_file(
    tmp_path, caplog, monkeypatch, later
):
    class Third(Acts):
        def given(self, count):
            return Fraction(count, 3) if count >= later else count

    monkeypatch.setattr(observer, "STEPS_PER_FILE", 300)
    with caplog.at_level(logging.WARNING):
        loop = play(tmp_path, Takes(spaces.Discrete(3)), Third, max_episodes=400)
    assert loop.episodes == 400
    assert [record.message for record in caplog.records] == [
        "actions of type Fraction cannot be kept: there will be no traces to replay"
    ]
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize("kind", [Pair, Wide, Words, Counter])
def test_a_file_is_the_same_however_often_it_was_written(tmp_path, monkeypatch, kind):
    class Mixed(RandomAgent):
        def act(self, state, episode_num):
            action = super().act(state, episode_num)
            return action.astype(np.float64) if kind is Wide and episode_num == 9 else action

    kept = []
    for seconds in (1000.0, -1.0):  # never before the file is full, and after each episode
        monkeypatch.setattr(observer, "SECONDS_TO_FIRST_WRITE", seconds)
        monkeypatch.setattr(observer, "SECONDS_BETWEEN_WRITES", seconds)
        monkeypatch.setattr(observer, "STEPS_PER_FILE", 600)
        directory = tmp_path / str(seconds)
        directory.mkdir()
        play(directory, kind(), Mixed, max_episodes=20)
        found = traces.files(directory / "traces", "train")
        kept.append([(first, traces.load(path)) for first, path in found])
    once, often = kept
    assert [first for first, _ in once] == [first for first, _ in often]
    for (_, ours), (_, theirs) in zip(once, often, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype, name
            assert ours[name].tobytes() == theirs[name].tobytes(), name


def test_the_traces_of_a_short_run_are_written_once(tmp_path, monkeypatch):
    written, write = [], files.write
    monkeypatch.setattr(files, "write", lambda *args: (written.append(args[0].name), write(*args)))
    monkeypatch.setattr(observer, "SECONDS_TO_FIRST_WRITE", 60.0)  # as if the run took no second
    play(tmp_path, Counter(), max_episodes=20)
    assert written == ["train-000000.npz"]


def test_texts_are_kept(tmp_path):
    play(tmp_path, Words(), max_episodes=50)
    assert {len(action) for action in kept_actions(tmp_path)} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("space", "first"),
    [
        (spaces.Discrete(9), np.zeros((), int)),
        (spaces.Box(0, 9, (1,)), np.zeros(1, np.float32)),
        (spaces.MultiDiscrete([9]), [0]),
        (spaces.Dict(a=spaces.Box(0, 9, (1,))), {"a": np.zeros(1)}),
    ],
    ids=["array without dimensions", "array", "list", "dict"],
)
def test_an_action_that_its_agent_changes_later_is_kept_as_it_was(tmp_path, space, first):
    class Changes(Acts):
        mine = first

        def given(self, count):
            inner = self.mine["a"] if isinstance(self.mine, dict) else self.mine
            inner[... if isinstance(inner, np.ndarray) else 0] = count
            return self.mine

    def number(action):
        return float(np.ravel(action["a"] if isinstance(action, dict) else action)[0])

    play(tmp_path, Takes(space, number), Changes, max_episodes=4)
    kept = kept_actions(tmp_path)
    assert [number(action) for action in kept] == list(range(20))
    assert {type(action) for action in kept} == {type(first)}


def test_a_tensor_as_an_action_ends_nothing(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch: pip install torch")

    class Tensors(Acts):
        def given(self, count):
            weight = torch.ones(1, requires_grad=True)
            return (weight * count)[0] if count % 2 else torch.tensor(count)

    env = Takes(spaces.Discrete(99), lambda action: action.item())
    play(tmp_path, env, Tensors, max_episodes=4)
    kept = kept_actions(tmp_path)
    assert [action.item() for action in kept] == list(range(20))
    assert {action.dtype for action in kept} == {torch.float32, torch.int64}


def test_parts_that_come_and_go_and_names_with_dots_are_kept(tmp_path):
    given = [{"a": {"b": 1}, "a.b": 2}, {"a.b": 3}, (), (4,), (5, {"c": 6})]

    class Odd(Acts):
        def given(self, count):
            return given[count % 5]

    play(tmp_path, Takes(spaces.Discrete(9), number=len), Odd, max_episodes=2)
    assert kept_actions(tmp_path) == 2 * given


def test_a_run_goes_on_beside_a_file_of_an_earlier_version(tmp_path):
    arrays = traces.gather([0, 5, 2, True, False], [1, 2], [1.0, 1.0])
    arrays["action.0"] = arrays["action.1"] = arrays.pop("action")
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "train-000000.npz").write_bytes(traces.pack(arrays))
    env = Pair()
    loop = DefaultLoop(RandomAgent(env.observation_space, env.action_space), env, max_episodes=3)
    loop.episodes, loop.directory = 1, tmp_path
    loop.observers = {"trace": observer.Trace()}
    loop.notify("begin", loop)
    loop.train()
    loop.observers["trace"].close(None)
    assert [trace.episode for trace in read_all(tmp_path)] == [0, 1, 2]
    assert list(files_of(tmp_path)) == ["train-000000.npz", "train-000001.npz"]


def test_what_cannot_be_written_is_warned_of_once_and_written_once_it_can_be(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(observer, "SECONDS_TO_FIRST_WRITE", 0.0)
    (tmp_path / "traces").write_text("in the way")

    class Freed(Counter):
        games = 0

        def reset(self, **more):
            self.games += 1
            if self.games == 2000:
                (tmp_path / "traces").unlink()
            return super().reset(**more)

    with caplog.at_level(logging.WARNING):
        assert play(tmp_path, Freed(), max_episodes=2800).episodes == 2800
    assert [trace.episode for trace in read_all(tmp_path)] == [*range(2800)]
    (record,) = caplog.records
    assert "traces" in record.message
    assert "training goes on" in record.message


def test_a_run_whose_traces_cannot_be_written_has_not_ended_well(tmp_path):
    (tmp_path / "traces").write_text("in the way")
    with pytest.raises(Failure, match=r"cannot write .*traces: File exists"):
        play(tmp_path, Counter(), max_episodes=3)


@pytest.mark.slow
def test_files_hold_many_short_episodes_or_few_long_ones(tmp_path):
    play(tmp_path, Counter(length=10), max_episodes=16_000)
    short = _counts(tmp_path)
    assert all(100 < count <= 15_000 for count in short[:-1])
    assert len(short) > 1
    shutil.rmtree(tmp_path / "traces")
    play(tmp_path, Counter(length=120_000), max_episodes=5, max_episode_len=200_000)
    assert max(_counts(tmp_path)) <= 2


def _counts(directory):
    return [
        len(traces.load(p, ("episode",))["episode"])
        for _, p in traces.files(directory / "traces", "train")
    ]


def kill_after(process, directory, episodes):
    table = directory / "episodes.csv"
    while process.poll() is None and not (
        table.exists() and table.read_bytes().count(b"\n") > episodes
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL


WORDS = ("env=cartpole", "loop.max_episodes=4000", "loop.episodes_per_eval=700")


@pytest.mark.slow
def test_a_killed_and_resumed_run_leaves_the_very_files_of_an_untouched_one(
    launch, start, cli, tmp_path
):
    untouched = launch(*WORDS, directory="untouched")
    killed = tmp_path / "killed"
    for episodes in (300, 2500):
        kill_after(start(*WORDS, f"hydra.run.dir={killed}"), killed, episodes)
    left_by_a_killed_process(killed / "traces" / "train-000000.npz").write_bytes(b"half")
    # As if it had been written after the checkpoint from which the run goes on.
    shutil.copy(untouched / "traces" / "train-000000.npz", killed / "traces" / "train-009999.npz")
    assert cli(*WORDS, f"hydra.run.dir={killed}").returncode == 0
    assert files_of(killed) == files_of(untouched)


@pytest.mark.slow
def test_with_the_newest_checkpoint_damaged_the_traces_go_back_to_the_one_before(
    launch, cli, tmp_path
):
    words = ("env=pendulum", "loop.eval_episodes=3", "loop.time_per_checkpoint=0")
    untouched = launch(*words, "loop.max_episodes=30", directory="untouched")
    run = launch(*words, "loop.max_episodes=21", directory="run")
    (run / "checkpoints" / "episode-000021" / "state.json").write_text("damaged")
    done = cli("resume", run, "loop.max_episodes=30")
    assert done.returncode == 0, done.stderr
    assert files_of(run) == files_of(untouched)


@pytest.mark.slow
def test_a_damaged_last_file_costs_a_warning_and_its_own_episodes(launch, cli, tmp_path):
    run = launch("env=cartpole", "loop.max_episodes=30", "loop.eval_episodes=1")
    (run / "traces" / "train-000000.npz").write_bytes(b"damaged")
    done = cli("resume", run, "loop.max_episodes=40")
    assert done.returncode == 0, done.stderr
    assert "train-000000.npz is damaged" in done.stdout + done.stderr
    assert [trace.episode for trace in read_all(run)] == list(range(30, 40))


@pytest.mark.slow
def test_a_last_file_that_cannot_be_read_for_now_is_not_taken_for_damaged(launch, cli, tmp_path):
    """A resume with less memory than the run, say, fails, and another one finds all."""
    run = launch("env=cartpole", "loop.max_episodes=30", "loop.eval_episodes=1")
    path = run / "traces" / "train-000000.npz"
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive, archive.open("reward.npy", "w") as member:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
        np.lib.format.write_array_header_1_0(member, header)

    failed = cli("resume", run, "loop.max_episodes=40")

    assert failed.returncode == 1
    assert f"cannot read {path}: Cannot allocate memory" in failed.stderr
    assert "Traceback" not in failed.stderr
    path.write_bytes(whole)
    done = cli("resume", run, "loop.max_episodes=40")
    assert done.returncode == 0, done.stderr
    assert [trace.episode for trace in read_all(run)] == list(range(40))


def test_what_is_on_disk_is_enough_for_the_checkpoint_at_any_moment(tmp_path):
    """As long as the file is not full, each checkpoint has it written again with the new ones."""
    seen = []

    class Looks(RandomAgent):
        def begin_episode(self, episode_num):
            if episode_num in (1, 2, 5):
                loop.observers["trace"].state_dict()
                seen.append([trace.episode for trace in read_all(tmp_path)])

    env = Counter()
    loop = DefaultLoop(Looks(env.observation_space, env.action_space), env, max_episodes=6)
    loop.directory, loop.observers = tmp_path, {"trace": observer.Trace()}
    loop.notify("begin", loop)
    loop.train()
    assert seen == [[0], [0, 1], [0, 1, 2, 3, 4]]
    assert list(files_of(tmp_path)) == ["train-000000.npz"]


def test_a_folder_with_the_name_of_a_trace_ends_no_run(launch):
    run = launch("env=cartpole", "loop.max_episodes=4")
    lost = run / "traces" / "train-000000.npz"
    lost.unlink()
    lost.mkdir()
    dispatch("resume", str(run), "loop.max_episodes=8")
    assert len(rows(run)) == 8
    assert [trace.episode for trace in read_all(run)] == [4, 5, 6, 7]
    assert lost.is_dir()
