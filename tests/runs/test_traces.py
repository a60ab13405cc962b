"""The files of traces: what goes in comes out, however it is cut and joined."""

import enum
import json
import zipfile
from collections import OrderedDict
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_loop.loops.copies import copied
from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import traces


def rows_of(numbered):
    return [value for n, e in numbered for value in (n, 7 * n, len(e), True, False)]


def gather(episodes, first=0):
    rows = rows_of(enumerate(episodes, first))
    actions = [action for episode in episodes for action in episode]
    return traces.gather(rows, actions, [0.1 * n for n in range(len(actions))])


def write(path, arrays):
    path.write_bytes(traces.pack(arrays))
    return path


def identical(one, two):
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(identical, one, two))
    if isinstance(one, dict):
        return identical(list(one.items()), list(two.items()))
    return one == two


vectors = st.tuples(st.sampled_from(["<f4", "<f8", "<i8"]), st.integers(-9, 9)).map(
    lambda drawn: np.array([drawn[1], 0.1 * drawn[1]], drawn[0])
)
integers = st.integers(-(2**40), 2**40) | st.integers(0, 255).map(np.int64)
counts = integers | st.booleans() | st.booleans().map(np.bool_) | st.integers(2**63, 2**70)
floats = st.floats(allow_nan=False) | st.floats(width=32).map(np.float32)
ragged = st.lists(st.integers(0, 3), max_size=3).map(lambda sizes: np.zeros(sizes, np.float32))
texts = st.text(".aé", max_size=3)
scalars = vectors | counts | floats | ragged | texts | texts.map(np.str_) | st.binary(max_size=3)
scalars |= st.none() | st.complex_numbers(allow_nan=False).map(np.complex128)
scalars |= floats.map(np.asarray)  # of no dimension
nested = st.recursive(
    scalars,
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.lists(parts, max_size=3).map(tuple)
        | st.dictionaries(texts | st.integers(0, 9), parts, max_size=2)
        | st.dictionaries(texts, parts, max_size=2).map(OrderedDict)
    ),
    max_leaves=4,
)
episodes_of = st.sampled_from([vectors, integers, counts, floats, ragged, nested]).flatmap(
    lambda actions: st.lists(st.lists(actions, min_size=1, max_size=4), min_size=1, max_size=6)
)


@settings(max_examples=40, deadline=None)
@given(episodes_of)
def test_each_action_comes_back_in_the_type_it_was_given_in(tmp_path_factory, episodes):
    path = write(tmp_path_factory.mktemp("traces") / "train-000000.npz", gather(episodes))
    read = traces.episodes(traces.load(path), range(len(episodes)))
    for number, (trace, given_) in enumerate(zip(read, episodes, strict=True)):
        assert (trace.episode, trace.seed) == (number, 7 * number)
        for back, action in zip(trace.actions, given_, strict=True):
            assert identical(back, action)


@settings(max_examples=40, deadline=None)
@given(episodes_of, st.integers(0, 6))
def test_episodes_written_in_two_parts_are_the_file_that_they_are_in_one(episodes, place):
    place = min(place, len(episodes) - 1)
    whole = gather(episodes)
    first = traces.head(whole, place)
    if place:
        steps = sum(map(len, episodes[:place]))
        rows = rows_of([*enumerate(episodes)][place:])
        actions = [action for episode in episodes for action in episode][steps:]
        rewards = [0.1 * n for n in range(steps + len(actions))][steps:]
        second = traces.gather(rows, actions, rewards)
        assert traces.pack(traces.join(first, second)) == traces.pack(whole)
        assert traces.pack(first) == traces.pack(gather(episodes[:place]))


@pytest.mark.parametrize(
    "rewards",
    [
        [0.1, -0.0, np.float32(0.1), float("nan"), float("inf"), 3, 1e300],
        [0.0, -0.0, 0.0],
        [0.1, 0.1],
    ],
)
def test_rewards_are_kept_to_the_last_bit(rewards):
    count = len(rewards)
    arrays = traces.gather([0, 0, count, False, True], [0] * count, rewards)
    (trace,) = traces.episodes(arrays, [0])
    assert trace.rewards.tobytes() == np.array(rewards, np.float64).tobytes()
    assert (trace.terminated, trace.truncated) == (False, True)


def test_rewards_are_kept_where_numpy_raises_for_what_a_type_cannot_hold():
    rewards = [np.longdouble("1e4000"), 1e300, 5e-324]
    with np.errstate(all="raise"):  # as some set it to find where NaN comes from
        arrays = traces.gather([0, 0, 3, False, True], [0] * 3, rewards)
        assert traces.pack(arrays)
    assert arrays["reward"].tolist() == [np.inf, 1e300, 5e-324]


@pytest.mark.parametrize("action", [object(), Fraction(1, 3), np.array([None]), {1, 2}])
@pytest.mark.parametrize("inside", [lambda action: action, lambda action: {"a": (1, [action])}])
def test_an_action_of_another_type_is_refused_by_name_and_not_pickled(action, inside):
    with pytest.raises(ValueError, match=f"actions of type {type(action).__name__}$"):
        gather([[1, inside(action)]])


def test_texts_of_numpy_with_a_nul_at_the_end_come_back_whole():
    for text in (np.str_("a\0"), np.bytes_(b"a\0"), np.bytes_(b"\xff")):
        for action in (text, {"a": (1, [text])}, OrderedDict(b=text)):
            (trace,) = traces.episodes(gather([[copied(action)]]), [0])
            assert trace.actions == [action]
            assert type(trace.actions[0]) is type(action)


def test_what_raises_when_it_is_looked_at_is_refused():
    class Odd(dict):
        def __getattribute__(self, name):
            raise RuntimeError("no")

    with pytest.raises(ValueError, match="actions of type Odd"):
        gather([[Odd()]])


@pytest.mark.parametrize("library", ["gym", "gymnasium"])
def test_samples_of_every_space_come_back(library):
    spaces = pytest.importorskip(f"{library}.spaces")
    kinds = {
        "Graph": spaces.Graph(spaces.Box(-1, 1, (2,)), spaces.Discrete(3)),
        "Sequence": spaces.Sequence(spaces.Box(-1, 1, (2,))),
        "Text": spaces.Text(9),
        "MultiBinary": spaces.MultiBinary([2, 3]),
        "empty": spaces.Box(0, 1, (0,)),
        "a.b": spaces.Discrete(9),
        "a": spaces.Dict(b=spaces.Discrete(9, start=-9)),
    }
    if library == "gymnasium":
        kinds["OneOf"] = spaces.OneOf((spaces.Discrete(3), spaces.Text(3), spaces.Box(0, 1, (2,))))
    for space in [*kinds.values(), spaces.Dict(kinds), spaces.Tuple(list(kinds.values()))]:
        space.seed(1)
        actions = [space.sample() for _ in range(30)]
        (trace,) = traces.episodes(gather([actions]), [0])
        assert all(map(identical, trace.actions, actions)), space


@pytest.mark.parametrize("module", ["torch", "jax.numpy"])
def test_tensors_come_back_as_tensors(module):
    library = pytest.importorskip(module, reason=f"needs {module}: pip install it to test this")
    if module == "torch":
        weight = library.ones(2, requires_grad=True)
        actions = [library.tensor(2), library.tensor([1.5, 2.5]) * weight]
    else:
        actions = [library.asarray(2), library.asarray([1.5, 2.5])]
    for played in ([actions[0]] * 2, actions):
        (trace,) = traces.episodes(gather([played]), [0])
        for back, action in zip(trace.actions, played, strict=True):
            assert isinstance(back, type(action))
            assert back.dtype == action.dtype
            assert back.tolist() == action.tolist()


class Move(enum.IntEnum):
    LEFT, RIGHT = 0, 1


class Word(enum.StrEnum):
    GO = "go"


class Keys(enum.Flag):
    UP, DOWN = 1, 2


class Push(NamedTuple):
    move: Move
    force: np.float32


class Steps(int):
    pass


class Metres(np.float64):
    pass


class Matrix(np.ndarray):
    pass


NAMED = [Move.LEFT, Word.GO, Keys.UP | Keys.DOWN, Push(Move.RIGHT, np.float32(0.5))]


@pytest.mark.parametrize("action", NAMED)
@pytest.mark.parametrize("inside", [lambda action: action, lambda action: {"a": (1, [action])}])
def test_members_of_an_enum_and_named_tuples_come_back_as_what_they_are(action, inside):
    given = [inside(copied(action)), inside(action)]
    arrays = gather([given, given])
    for kept in (arrays, traces.head(arrays, 1), traces.join(gather([[1]]), gather([given], 1))):
        actions = traces.episodes(kept, [0, 1], traces.find_class)[-1].actions
        assert identical(actions, given)


def test_what_only_reads_imports_no_class_of_an_action(monkeypatch):
    arrays = gather([NAMED])
    monkeypatch.setattr(traces.importlib, "import_module", None)
    (trace,) = traces.episodes(arrays, [0])
    assert identical(trace.actions, [0, "go", 3, (1, np.float32(0.5))])


@pytest.mark.parametrize("name", ["os.system", "gone.Move", "__main__.Move"])
def test_a_class_that_is_none_of_an_action_or_is_gone_is_named(name):
    with pytest.raises(Failure, match=f"^{name}"):
        traces.find_class(*name.split("."))


@pytest.mark.parametrize(
    "action",
    [
        *(Steps(1), Metres(1.5), np.zeros(2).view(Matrix)),
        enum.IntEnum("Local", ["LEFT"]).LEFT,  # is not found by its name
    ],
)
@pytest.mark.parametrize("inside", [lambda action: action, lambda action: {"a": (1, [action])}])
def test_an_action_of_a_class_derived_from_a_number_or_an_array_is_refused(action, inside):
    with pytest.raises(ValueError, match=f"actions of type {type(action).__name__}$"):
        gather([[inside(action)] * 2])


def test_files_of_earlier_versions_are_read(tmp_path):
    arrays = gather([[1, 2], [3]])
    del arrays["action"]
    arrays |= {"action.0": np.array([-1, 0, 1]), "action.1.left": np.ones((3, 2), np.float32)}
    path = tmp_path / "train-000000.npz"
    np.savez(path, **arrays)
    loaded = traces.load(path)
    assert traces.of_earlier_version(loaded)
    first, second = traces.episodes(loaded, [0, 1])
    assert len(first.actions) == 2
    ((number, hands),) = second.actions
    assert type(number) is int
    assert number == 1
    assert identical(hands, {"left": np.ones(2, np.float32)})
    assert len(traces.load(write(path, traces.head(loaded, 1)))["action.1.left"]) == 2


def test_an_episode_that_was_not_played_is_named_beside_those_that_were(tmp_path):
    (tmp_path / "traces").mkdir()
    write(tmp_path / "traces" / "train-000000.npz", gather([[1]] * 5))
    write(tmp_path / "traces" / "train-000008.npz", gather([[1]] * 2, first=8))
    found = traces.Traces(tmp_path, "train")
    assert found.episodes().tolist() == [0, 1, 2, 3, 4, 8, 9]
    assert found.last() == 9
    for absent in (5, 7, 10):
        with pytest.raises(Mistake) as error:
            list(found.chunks([0, absent], 100))
        assert error.value.message.endswith(f"training episode {absent}; expected one of 0-4, 8-9")


def test_only_the_files_with_the_wanted_episodes_are_read(tmp_path):
    (tmp_path / "traces").mkdir()
    for first in (0, 5):
        write(tmp_path / "traces" / f"train-{first:06d}.npz", gather([[1, 2]] * 5, first=first))
    (tmp_path / "traces" / "train-000010.npz").write_bytes(b"damaged")
    chunks = list(traces.Traces(tmp_path, "train").chunks([1, 6, 3, 7, 9], 4))
    assert [(path.stem, numbers) for path, numbers in chunks] == [
        ("train-000000", [1, 3]),
        ("train-000005", [6, 7]),
        ("train-000005", [9]),
    ]
    with pytest.raises(Failure, match=r"train-000010.npz is damaged"):
        list(traces.Traces(tmp_path, "train").chunks([12], 4))


@pytest.mark.parametrize("name", [*traces.NEEDED, "json", "json_length"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda array: array[:0],
        lambda array: array[:-1],
        lambda array: np.concatenate([array, array]),
        lambda array: np.stack([array, array]),
        lambda array: np.array(1),
        None,  # there is no such array
    ],
)
def test_arrays_that_do_not_fit_each_other_are_damage(tmp_path, name, damage):
    arrays = gather([["a", "b"], ["c"]])
    if damage is None:
        del arrays[name]
    else:
        arrays[name] = damage(arrays[name])
    np.savez(tmp_path / "train-000000.npz", **arrays)
    with pytest.raises(Failure, match=r"train-000000.npz is damaged"):
        traces.load(tmp_path / "train-000000.npz")


@pytest.mark.parametrize("name", traces.NUMBERS)
def test_texts_for_numbers_are_damage(tmp_path, name):
    arrays = gather([["a", "b"], ["c"]])
    np.savez(tmp_path / "train-000000.npz", **arrays | {name: arrays[name].astype("U1")})
    with pytest.raises(Failure, match=r"train-000000.npz is damaged"):
        traces.load(tmp_path / "train-000000.npz")


def test_games_that_end_before_their_first_step_are_read(tmp_path):
    assert len(traces.load(write(tmp_path / "a.npz", gather([[], []])))["reward"]) == 0


def test_a_flipped_bit_is_noticed(tmp_path):
    content = bytearray(traces.pack(gather([[0, 1] * 50] * 20)))
    content[len(content) // 2] ^= 16
    path = tmp_path / "train-000000.npz"
    path.write_bytes(content)
    with pytest.raises(Failure, match="damaged"):
        traces.load(path)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        *(({"array": [kind, [1], "41" * 16]}, "an array of") for kind in ("O", "O,i4", "i4,O")),
        ({"GraphInstance": ["antigravity"]}, "a GraphInstance of antigravity"),
    ],
)
def test_what_somebody_wrote_into_a_file_makes_no_addresses_and_imports_no_module(action, said):
    text = json.dumps(action).encode()
    arrays = {
        **{name: np.array([0]) for name in ("episode", "seed", "terminated", "truncated")},
        **{"length": np.array([1]), "reward": np.array([1.0])},
        **{"json": np.frombuffer(text, np.uint8), "json_length": np.array([len(text)])},
    }
    with pytest.raises(ValueError, match=said):
        traces.episodes(arrays, [0])


def test_a_name_with_digits_that_are_no_decimal_number_is_no_file_of_traces(tmp_path):
    path = write(tmp_path / "train-000000.npz", gather([[1]]))
    path.with_name("train-\u00b2.npz").write_bytes(path.read_bytes())
    assert traces.files(tmp_path, "train") == [(0, path)]


def test_a_file_that_unpacks_to_more_than_any_runs_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "LARGEST", 1_000_000)
    path = tmp_path / traces.name("train", 0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            with archive.open(f"{number}.npy", "w") as member:
                member.write(bytes(600_000))

    with pytest.raises(Failure, match="it unpacks to 1,200,000 bytes"):
        traces.load(path)


def test_a_run_without_traces_says_why_that_may_be(tmp_path):
    with pytest.raises(Mistake) as error:
        traces.Traces(tmp_path, "train")
    assert (
        "no traces of training episodes; was it run with loop.trace=false?" in error.value.message
    )
    (tmp_path / "traces").mkdir()
    write(tmp_path / "traces" / "train-000000.npz", gather([[1]]))
    with pytest.raises(Mistake) as error:
        traces.Traces(tmp_path, "eval")
    assert "leave out --eval" in error.value.message


@pytest.mark.parametrize(
    "lay",
    [np.asfortranarray, lambda action: np.repeat(action, 2, 1)[:, ::2]],
    ids=["columns", "gaps"],
)
def test_an_action_is_kept_however_it_lies_in_memory(lay):
    actions = [lay(np.arange(6.0).reshape(2, 3) + n) for n in range(3)]
    (trace,) = traces.episodes(gather([actions]), [0])
    assert np.array_equal(np.array(trace.actions), np.array(actions))


def test_what_is_left_of_a_file_keeps_actions_whose_class_is_gone():
    named = {"named": ["a_module_that_is_gone", "Go", 1]}
    texts = [json.dumps(named).encode()] * 4
    arrays = {name: np.array([0, 1]) for name in ("episode", "seed")} | {
        "length": np.array([2, 2]),
        "terminated": np.array([True, True]),
        "truncated": np.array([False, False]),
        "reward": np.ones(4),
        "json": np.frombuffer(b"".join(texts), np.uint8),
        "json_length": np.array([len(text) for text in texts]),
    }
    kept = traces.head(arrays, 1)
    assert json.loads(kept["json"].tobytes()[: kept["json_length"][0]]) == named
