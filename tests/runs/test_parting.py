"""Where the results of two runs part."""

import numpy as np
import pytest

from gym_loop.runs import parting, traces


def write(run, actions, rewards, seed=3, terminated=True):
    folder = run / traces.FOLDER
    folder.mkdir(parents=True)
    rows = [0, 1, 2, True, False, 1, seed, len(rewards), terminated, not terminated]
    arrays = traces.gather(rows, [0, 0, *actions], [1.0, 1.0, *rewards])
    (folder / traces.name("train", 0)).write_bytes(traces.pack(arrays))
    return run


ACTIONS, REWARDS = [0, 1, 1], [1.0, 0.5, 2.0]


@pytest.mark.parametrize(
    ("changes", "step", "what", "values"),
    [
        ({"seed": 4}, 0, "reset seed", ["3", "4"]),
        ({"actions": [0, 1, 0]}, 3, "action", ["1", "0"]),
        ({"rewards": [1.0, 0.25, 2.0]}, 2, "reward", ["0.5", "0.25"]),
        ({"actions": [0, 0, 1], "rewards": [1.0, 0.25, 2.0]}, 2, "action", ["1", "0"]),
        ({"actions": [0, 1], "rewards": [1.0, 0.5]}, 2, "end", None),
        ({"terminated": False}, 3, "end", None),
        ({"actions": [np.float32(0), np.float32(1), np.float32(1)]}, 1, "action", None),
    ],
)
def test_the_first_thing_that_differs_is_found(tmp_path, changes, step, what, values):
    content = {"actions": ACTIONS, "rewards": REWARDS}
    one = write(tmp_path / "a", **content)
    two = write(tmp_path / "b", **{**content, **changes})
    found = parting.of_episode(one, two, "train", 1)
    assert (found["step"], found["what"]) == (step, what)
    assert values is None or found["values"] == values
    assert parting.told(found).startswith("at its reset" if step == 0 else f"at step {step}: ")


def test_nothing_is_found_in_equal_traces_or_without_them(tmp_path):
    runs = [write(tmp_path / name, ACTIONS, [1.0, np.nan, 2.0]) for name in ("a", "b")]
    assert parting.of_episode(*runs, "train", 1) is None
    assert parting.of_episode(*runs, "train", 7) is None
    assert parting.of_episode(*runs, "eval", 0) is None
    assert parting.of_episode(runs[0], tmp_path / "c", "train", 1) is None


def test_arrays_are_compared_by_every_digit(tmp_path):
    actions = [np.array([0.1, 0.2], np.float32) for _ in range(3)]
    other = [*actions[:2], np.array([0.1, np.nextafter(np.float32(0.2), 1)], np.float32)]
    runs = []
    for name, given in (("a", actions), ("b", other)):
        folder = tmp_path / name / traces.FOLDER
        folder.mkdir(parents=True)
        arrays = traces.gather([0, 3, 3, True, False], given, REWARDS)
        (folder / traces.name("train", 0)).write_bytes(traces.pack(arrays))
        runs.append(tmp_path / name)
    found = parting.of_episode(*runs, "train", 0)
    assert (found["step"], found["what"]) == (3, "action")
    assert "float32" in found["values"][0]


def test_a_link_out_of_the_run_is_not_followed(tmp_path):
    one = write(tmp_path / "a", ACTIONS, REWARDS)
    write(tmp_path / "outside", ACTIONS, [1.0, 2.0, 3.0])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / traces.FOLDER).symlink_to(tmp_path / "outside" / traces.FOLDER)
    assert parting.of_episode(one, tmp_path / "b", "train", 1) is None
