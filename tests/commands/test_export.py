"""gym-loop export: what was seen and done, in files that others read."""

import re
import resource
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import gym_loop
from gym_loop.commands import export
from gym_loop.envs import make_gym, make_gymnasium
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs.dataset import Column, recording, stacked, write_npz
from tests.conftest import rows

ENVS = Path(__file__).parents[1] / "sample_envs.py"


def run_export(*words):
    export.main(list(map(str, words)))


def test_an_npz_holds_what_the_agent_saw_and_did(launch, tmp_path, capsys):
    run = launch("env=pendulum", "loop.max_episodes=3", "loop.max_episode_len=50")
    run_export(run, tmp_path / "all.npz")
    assert capsys.readouterr().out.endswith(
        "3 episodes, 150 steps; numpy.load('%s') reads it\n" % (tmp_path / "all.npz")
    )
    with np.load(tmp_path / "all.npz", allow_pickle=False) as file:
        data = dict(file)
    assert data["episode"].tolist() == [0, 1, 2]
    assert data["length"].tolist() == [50, 50, 50]
    assert data["observation"].shape == (153, 3)
    assert data["observation"].dtype == np.float32
    assert data["truncated"].nonzero()[0].tolist() == [49, 99, 149]  # by max_episode_len
    assert not data["terminated"].any()
    env = make_gym("Pendulum-v1")
    for number, row in enumerate(rows(run)):
        assert data["seed"][number] == int(row["seed"])
        steps = slice(50 * number, 50 * number + 50)
        seen = [env.reset(seed=int(row["seed"]))[0]]
        seen += [env.step(action)[0] for action in data["action"][steps]]
        assert np.array_equal(data["observation"][51 * number : 51 * number + 51], seen)
        assert data["reward"][steps].sum() == pytest.approx(float(row["return"]))
    assert [path.name for path in tmp_path.glob(".tmp*")] == []


@pytest.mark.slow
def test_parts_of_actions_and_observations_have_arrays_of_their_own(launch, tmp_path):
    run = launch("env=gymnasium:Blackjack-v1", "loop.max_episodes=5", directory="blackjack")
    run_export(run, tmp_path / "blackjack.npz", "--eval", "--jobs", 2)
    with np.load(tmp_path / "blackjack.npz", allow_pickle=False) as data:
        steps = data["length"].sum()
        assert len(data["episode"]) == 10
        assert {data[f"observation.{n}"].shape for n in range(3)} == {(steps + 10,)}
        assert data["action"].shape == (steps,)
    run = launch(f"env={ENVS}:Pair", "loop.max_episodes=2", directory="pair")
    run_export(run, tmp_path / "pair.npz", "--episode", "last")
    with np.load(tmp_path / "pair.npz", allow_pickle=False) as data:
        assert data["episode"].tolist() == [1]
        assert data["action.0"].min() >= -1
        assert data["action.1.left"].shape == (10, 2)
        assert data["action.1.left"].dtype == np.float32


ROOMS = """
import gymnasium
from gymnasium import spaces


class Words(spaces.Space):
    def __init__(self):
        super().__init__(dtype=str)

    def sample(self, mask=None, probability=None):
        return "north"

    def contains(self, x):
        return isinstance(x, str)


class Rooms(gymnasium.Env):
    observation_space = spaces.Dict(
        {
            "room": spaces.Dict({"door": spaces.Discrete(3)}),
            "room.door": spaces.MultiBinary(2),
            "room%2Edoor": spaces.Box(0, 1, (0,)),
            "sign": spaces.Text(9),
            "told": Words(),
            "way": spaces.Sequence(spaces.Discrete(3)),
            "pair": spaces.Tuple((spaces.Discrete(2), spaces.Text(4))),
        }
    )
    action_space = spaces.Dict(go=spaces.OneOf([spaces.Discrete(2)] * 2), say=spaces.Text(3))

    def see(self):
        here = self.observation_space.sample()
        return {**here, "sign": self.length * "a", "told": self.length * "north"}

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        self.length = 1 + seed % 7
        self.steps = 0
        return self.see(), {}

    def step(self, action):
        self.steps += 1
        return self.see(), float(len(action["say"])), self.steps == 4, False, {}
"""


def test_parts_with_dots_and_texts_are_whole_and_what_is_left_out_is_named_once(
    launch, tmp_path, capsys
):
    (tmp_path / "rooms.py").write_text(ROOMS)
    run = launch("env=rooms.py:Rooms", "loop.max_episodes=6", directory="rooms")
    run_export(run, tmp_path / "rooms.npz", "--jobs", "1")
    said = capsys.readouterr().out.splitlines()[-2]
    assert said == (
        "left out, for rooms.npz cannot hold it: observation.way (a Sequence space), "
        "action.go (a OneOf space)"
    )
    with np.load(tmp_path / "rooms.npz", allow_pickle=False) as file:
        data = dict(file)
    assert {name: array.shape for name, array in data.items() if "." in name} == {
        "observation.room.door": (30,),
        "observation.room%2Edoor": (30, 2),
        "observation.room%252Edoor": (30, 0),
        "observation.sign": (30,),
        "observation.told": (30,),
        "observation.pair.0": (30,),
        "observation.pair.1": (30,),
        "action.say": (24,),
    }
    lengths = [1 + seed % 7 for seed in data["seed"].tolist()]
    assert len(set(lengths)) > 2
    assert data["observation.sign"].tolist() == [n * "a" for n in lengths for _ in range(5)]
    assert data["observation.told"][::5].tolist() == [n * "north" for n in lengths]
    assert [len(word) for word in data["action.say"]] == data["reward"].tolist()


def test_minari_gets_what_it_holds_and_the_rest_is_named_once(launch, tmp_path, capsys):
    minari = pytest.importorskip("minari", reason='needs the extra: pip install "gym-loop[minari]"')
    (tmp_path / "rooms.py").write_text(ROOMS)
    run = launch("env=rooms.py:Rooms", "loop.max_episodes=3", directory="rooms")
    run_export(run, tmp_path / "all", "--jobs", "1")
    said = capsys.readouterr().out.splitlines()[-2]
    assert said == (
        "left out, for all cannot hold it: observation.told (a Words space), "
        "observation.way (a Sequence space), action.go (a OneOf space)"
    )
    dataset = minari.MinariDataset(tmp_path / "all" / "data")
    seen = dataset[0].observations
    assert set(seen) == {"room", "room.door", "room%2Edoor", "sign", "pair"}
    assert {len(word) for word in seen["sign"]} == {1 + int(rows(run)[0]["seed"]) % 7}
    assert seen["pair"][0].shape == (5,)


@pytest.mark.parametrize("of", ["observation", "action"])
def test_a_dataset_of_nothing_is_refused_by_the_space_s_name(launch, tmp_path, of):
    pytest.importorskip("minari", reason='needs the extra: pip install "gym-loop[minari]"')
    (tmp_path / "rooms.py").write_text(
        f"{ROOMS}\n\nclass Graphs(Rooms):\n"
        f"    {of}_space = spaces.Graph(spaces.Discrete(2), None)\n"
        "    see = lambda self: self.observation_space.sample()\n"
        "    step = lambda self, action: (self.see(), 0.0, True, False, {})\n"
    )
    run = launch("env=rooms.py:Graphs", "loop.max_episodes=3", directory="graphs")
    with pytest.raises(Mistake) as error:
        run_export(run, tmp_path / "all", "--jobs", "1")
    assert f"{of}s of a Graph space" in error.value.message
    assert not (tmp_path / "all").exists()


WRECKER = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Wrecker(gymnasium.Env):
    def __init__(self, pair=False, render_mode=None):
        self.observation_space = spaces.Box(0, 1000, (1,))
        box = spaces.Box(-1, 1, (2,), np.float64)
        self.action_space = spaces.Dict({"a": box, "1": box, 1: box}) if pair else box
        self.seen, self.frame = np.zeros(1, np.float32), np.zeros((2, 2, 3), np.uint8)
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.steps = self.seen[0] = 0
        return self.seen, {}

    def step(self, action):
        self.steps += 1
        self.seen[0] += 1
        parts = action.values() if isinstance(action, dict) else [action]
        reward = float(sum(n * part.sum() for n, part in enumerate(parts, 1)))
        for part in parts:
            part[...] = 0
        if isinstance(action, dict):
            action.clear()
        return self.seen, reward, self.steps == 4, False, {}

    def render(self):
        self.frame[...] = self.steps
        return self.frame
"""


@pytest.mark.parametrize("observations", ["environment", "agent"])
def test_actions_that_an_environment_changes_are_written_as_they_were_given(
    launch, tmp_path, observations
):
    (tmp_path / "wrecker.py").write_text(WRECKER)
    run = launch("env=wrecker.py:Wrecker", "loop.max_episodes=3")
    run_export(run, tmp_path / "a.npz", "--jobs", "1", "--observations", observations)
    with np.load(tmp_path / "a.npz") as data:
        assert data["observation"].ravel().tolist() == [0, 1, 2, 3, 4] * 3
        assert data["action"].sum(1).tolist() == pytest.approx(data["reward"].tolist())
    again = gym_loop.Run(run).replay(0, frames=True)
    assert [seen.item() for seen in again.observations] == [0, 1, 2, 3, 4]
    assert [picture.max() for picture in again.frames] == [0, 1, 2, 3, 4]
    assert [action.sum() for action in again.actions] == pytest.approx([*again.rewards])


def test_parts_whose_keys_are_written_alike_are_all_there(launch, tmp_path):
    (tmp_path / "wrecker.py").write_text(WRECKER)
    run = launch("env=wrecker.py:Wrecker", "env.pair=true", "loop.max_episodes=3")
    run_export(run, tmp_path / "a.npz", "--jobs", "1")
    with np.load(tmp_path / "a.npz") as data:
        assert {name for name in data if name.startswith("action")} == {
            *("action.a", "action['1']", "action[1]")
        }
        sums = [data[name].sum(1) for name in ("action.a", "action['1']", "action[1]")]
        by_key = dict(zip(("a", "1", 1), sums, strict=True))
        space = gym_loop.Run(run).env().action_space
        expected = sum(n * by_key[key] for n, key in enumerate(space, 1))
        assert expected.tolist() == pytest.approx(data["reward"].tolist())


@pytest.mark.parametrize("words", [["a", "b\0"], [b"a", b"b\0"]])
def test_a_text_that_an_array_would_cut_is_left_out(words):
    assert stacked(words, gymnasium.spaces.Text(2))[()] is None
    assert stacked(words[:1], gymnasium.spaces.Text(2))[()].tolist() == words[:1]
    array = np.array([words[:1], words[:1]])
    assert np.array_equal(stacked([*array], gymnasium.spaces.Text(2))[()], array)


@pytest.mark.parametrize("texts", [["a", "b"], [b"a", b"\xff"]])
def test_a_part_that_is_a_number_here_and_a_text_there_is_left_out_and_named(tmp_path, texts):
    space = gymnasium.spaces.Discrete(9)
    env = SimpleNamespace(observation_space=space, action_space=space)
    ends = (True, False)

    def played(number, actions):
        trace = SimpleNamespace(episode=number, seed=0)
        return recording(trace, env, [0] * 3, actions, np.zeros(2), ends)

    for first, second in ([[1, 2], texts], [texts, [1, 2]], [texts, ["c", "d\xe9"]]):
        recordings = [played(0, first), played(1, second)]
        steps, left_out = write_npz(tmp_path / "a.npz", recordings, env)
        is_alike = type(first[0]) is type(second[0])
        assert (steps, left_out) == (4, [] if is_alike else ["action (a Discrete space)"])
        with np.load(tmp_path / "a.npz") as data:
            assert data["episode"].tolist() == [0, 1]
            assert not is_alike or data["action"].tolist() == first + second


def test_values_of_several_types_are_all_held(tmp_path):
    path = tmp_path / "column"
    column = Column(path, (2,))
    pieces = [np.ones((1, 2), int), np.full((3, 2), 0.5), np.ones((2, 2), np.float32)]
    for piece in pieces:
        column.append(piece)
    with open(tmp_path / "whole.npy", "wb") as file:
        column.copy_to(file)
    assert np.array_equal(np.load(tmp_path / "whole.npy"), np.concatenate(pieces))


@pytest.mark.parametrize("library", ["gym", "gymnasium"])
@pytest.mark.parametrize("name", ["Pendulum-v1", "Blackjack-v1"])
def test_minari_reads_the_dataset_back(launch, tmp_path, monkeypatch, library, name):
    minari = pytest.importorskip("minari", reason='needs the extra: pip install "gym-loop[minari]"')
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    (tmp_path / "datasets" / "mine").mkdir(parents=True)
    run = launch(f"env={library}:{name}", "loop.max_episodes=4", "loop.max_episode_len=20")
    run_export(run, tmp_path / "datasets" / "mine" / "random-v0")
    run_export(run, tmp_path / "elsewhere")
    assert list(minari.list_local_datasets()) == ["mine/random-v0"]
    env = (make_gym if library == "gym" else make_gymnasium)(name)
    for dataset in (
        minari.load_dataset("mine/random-v0"),
        minari.MinariDataset(tmp_path / "elsewhere" / "data"),
    ):
        assert dataset.total_episodes == 4
        assert dataset.action_space.contains(dataset[0].actions[0])
        for episode, row in zip(dataset, rows(run), strict=True):
            seen = [env.reset(seed=int(row["seed"]))[0]]
            rewards = []
            for action in episode.actions:
                given = int(action) if action.shape == () else action
                observation, reward, *_ = env.step(given)
                seen.append(observation)
                rewards.append(reward)
            if isinstance(seen[0], tuple):
                assert all(map(np.array_equal, episode.observations, zip(*seen, strict=True)))
            else:
                assert np.array_equal(episode.observations, seen)
            assert np.array_equal(episode.rewards, rewards)
            assert episode.terminations[-1] == (row["terminated"] == "1")
            assert episode.truncations[-1] == (row["truncated"] == "1")
            assert not (episode.terminations | episode.truncations)[:-1].any()
    recovered = library == "gymnasium"
    assert (dataset.env_spec is not None) == recovered
    if recovered:
        assert dataset.recover_environment().spec.id == name


def test_a_dataset_s_namespace_need_not_be_there(launch, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason='needs the extra: pip install "gym-loop[minari]"')
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    run = launch("env=cartpole", "loop.max_episodes=2")
    for name in ("cart/pole/mine-v0", "cart/mine-v1"):
        run_export(run, tmp_path / "datasets" / name)
        assert minari.load_dataset(name).total_episodes == 2
    with pytest.raises(Mistake) as error:
        run_export(run, tmp_path / "datasets" / "c" / "mine-v0")
    assert "c/mine-v0 cannot be the id of a dataset" in error.value.message


def test_nothing_is_written_when_an_episode_is_not_as_it_was_recorded(launch, tmp_path):
    run = launch(f"env={ENVS}:Random", "loop.max_episodes=2")
    for target in ("a.npz", "dataset"):
        if target == "dataset":
            pytest.importorskip("minari", reason='needs the extra: pip install "gym-loop[minari]"')
        with pytest.raises(Failure, match="nothing written: episode 0 differs at step 8"):
            run_export(run, tmp_path / target)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_what_is_asked_for_wrongly_is_said_in_one_line(launch, tmp_path, monkeypatch):
    run = launch("env=cartpole", "loop.max_episodes=2")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    (tmp_path / "datasets").mkdir()
    cases = [
        ((run, tmp_path / "a.csv"), "unknown format '.csv'"),
        ((run, tmp_path / "no" / "a.npz"), "cannot write"),
        ((run, run), "exists; delete it or choose another name"),
        ((run, tmp_path / "a.npz", "--episode", "2"), "no training episode 2; expected one of 0-1"),
        ((tmp_path, tmp_path / "a.npz"), "is not a run"),
    ]
    try:
        import minari  # noqa: F401
    except ImportError:
        cases += [((run, tmp_path / "dataset"), 'pip install "gym-loop[minari]"')]
    else:
        cases += [((run, tmp_path / "datasets" / "cart"), "expected such as cart-v0")]
    for words, said in cases:
        with pytest.raises(Mistake) as error:
            run_export(*words)
        assert said in error.value.message
        assert "\n" not in error.value.message


@pytest.mark.slow
def test_episodes_that_find_no_room_are_one_line_and_leave_nothing(launch, cli, tmp_path):
    launch("env=cartpole", "loop.eval_episodes=1")
    before = {*tmp_path.iterdir()}
    unlimited = resource.RLIM_INFINITY

    # No file may grow beyond 100 bytes; a full disk ends a write in the same way.
    done = cli(
        *("export", "run", "episodes.npz"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited)),
    )

    assert done.returncode == 1
    assert re.fullmatch(r"gym-loop: cannot write \S+: File too large; `ulimit -f`.*\n", done.stderr)
    assert {*tmp_path.iterdir()} == before
