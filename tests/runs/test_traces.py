"""The files of traces: what goes in comes out, however it is cut and joined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def actions_of(trace, space=None):
    return [trace.action(step, space) for step in range(len(trace.rewards))]


def identical(one, two):
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    return type(two) in (int, bool, float) and one == two


vectors = st.tuples(st.sampled_from(["<f4", "<f8", "<i8"]), st.integers(-9, 9)).map(
    lambda drawn: np.array([drawn[1], 0.1 * drawn[1]], drawn[0])
)
counts = st.integers(-(2**40), 2**40) | st.booleans() | st.integers(0, 255).map(np.int64)
floats = st.floats(allow_nan=False) | st.floats(width=32).map(np.float32)
episodes_of = st.sampled_from([vectors, counts, floats]).flatmap(
    lambda actions: st.lists(st.lists(actions, min_size=1, max_size=4), min_size=1, max_size=6)
)


@settings(max_examples=40, deadline=None)
@given(episodes_of)
def test_each_action_comes_back_in_the_type_it_was_given_in(tmp_path_factory, episodes):
    path = write(tmp_path_factory.mktemp("traces") / "train-000000.npz", gather(episodes))
    read = traces.episodes(traces.load(path), range(len(episodes)))
    for number, (trace, given_) in enumerate(zip(read, episodes, strict=True)):
        assert (trace.episode, trace.seed) == (number, 7 * number)
        for back, action in zip(actions_of(trace), given_, strict=True):
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


def test_what_no_array_can_hold_is_refused_and_not_pickled():
    for action in ("left", None, {"a": "b"}, (1, object())):
        with pytest.raises(ValueError, match="actions of type"):
            gather([[action]])
    with pytest.raises(ValueError, match="changing shape"):
        gather([[np.zeros(2), np.zeros(3)]])
    with pytest.raises(ValueError, match="come and go"):
        gather([[{"a": 1, "b": 2}, {"b": 2}]])


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


def test_a_flipped_bit_is_noticed(tmp_path):
    content = bytearray(traces.pack(gather([[0, 1] * 50] * 20)))
    content[len(content) // 2] ^= 16
    path = tmp_path / "train-000000.npz"
    path.write_bytes(content)
    with pytest.raises(Failure, match="damaged"):
        traces.load(path)


def test_a_run_without_traces_says_why_that_may_be(tmp_path):
    with pytest.raises(Mistake) as error:
        traces.Traces(tmp_path, "train")
    assert (
        "no traces of training episodes; was it run with loop.trace=false?" in error.value.message
    )
    (tmp_path / "traces").mkdir()
    write(tmp_path / "traces" / "train-000000.npz", gather([[1]]))
    with pytest.raises(Mistake, match="2") as error:
        traces.Traces(tmp_path, "eval")
    assert "leave out --eval" in error.value.message
