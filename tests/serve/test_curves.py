"""Curves: decimated, yet exact where zoomed in; averaged as far as every seed goes."""

import os

import numpy as np
import pytest

from gym_loop.serve import curves
from gym_loop.serve.curves import Line, Tables
from gym_loop.serve.library import Library
from tests.run_directories import EVALUATION, HEADER, write_run


def line_of(y, x=None):
    y = np.asarray(y, float)
    x = np.arange(len(y), dtype=float) if x is None else np.asarray(x, float)
    return Line(x, y, x, x)


@pytest.fixture
def entries(tmp_path):
    def make():
        library = Library([tmp_path])
        library.refresh()
        return sorted(library.entries.values(), key=lambda entry: entry.row["name"])

    return make


def draw(entries, kind="train", window=1, low=None, high=None, axis="steps", metric="return"):
    view = curves.View(kind, metric, axis, window, low, high)
    (group,) = curves.draw(Tables(), [entries], view)
    return group


def test_decimation_keeps_the_ends_and_the_extremes():
    y = np.random.default_rng(0).normal(size=100_000)
    y[[777, 54_321]] = 99, -99
    few = curves.decimated(line_of(y), 600)
    assert len(few.x) <= 610
    assert {0, 777, 54_321, 99_999} <= set(few.first.astype(int))
    assert (y[few.x.astype(int)] == few.y).all()
    whole = line_of(y[:600])
    assert curves.decimated(whole, 600) is whole


def test_zoomed_in_every_episode_is_there(entries, tmp_path):
    write_run(tmp_path / "a", episodes=30_000)
    (entry,) = entries()
    rows = (tmp_path / "a" / "episodes.csv").read_text().splitlines()[1:]
    steps = [int(row.split(",")[1]) for row in rows]
    assert len(draw([entry])["seeds"][0]["x"]) < 700
    (part,) = draw([entry], low=steps[1000], high=steps[1300])["seeds"]
    assert part["x"] == steps[999:1302]
    assert part["first"] == list(range(999, 1302))
    assert part["y"] == [float(row.split(",")[3]) for row in rows[999:1302]]


def test_smoothing_is_the_mean_of_the_last_episodes_without_nan():
    y = np.array([1.0, 3.0, np.nan, 5.0, 7.0])
    assert curves.rolling(y, 2).tolist() == [1.0, 2.0, 3.0, 5.0, 6.0]
    assert curves.rolling(y, 1) is y
    assert curves.rolling(np.full(3, np.nan), 2).tolist() == pytest.approx(
        [np.nan] * 3, nan_ok=True
    )


def test_a_mean_ends_where_a_seed_ends_and_a_failed_one_ends_nothing(entries, tmp_path):
    for seed, episodes in enumerate((100, 100, 40)):
        write_run(tmp_path / str(seed), seed=seed, episodes=episodes)
    group = draw(entries())
    last = [seed["x"][-1] for seed in group["seeds"]]
    assert group["x"][-1] == min(last) < max(last)
    assert set(group["count"]) <= {2, 3}  # the first episodes end at different steps

    write_run(tmp_path / "3", seed=3, episodes=5, state="failed")
    again = draw(entries())
    assert again["x"][-1] == group["x"][-1]
    assert again["count"][-1] == 3


def test_evaluations_are_one_point_each_and_belong_together_by_their_index(entries, tmp_path):
    for seed, returns in enumerate(([[1, 3], [5, 7], [9, 9]], [[2, 2], [4, 4]])):
        rows, n = [], 0
        for index, own in enumerate(returns):
            for value in own:
                at, steps = 10 * (index + 1), (100 + seed) * (index + 1)
                rows.append(f"{n},{at},{steps},1,{value}.0,1,0,0,{index}.5\n")
                n += 1
        run = write_run(tmp_path / str(seed), seed=seed, evaluations=0)
        (run / "evaluations.csv").write_text(EVALUATION + "".join(rows))
    group = draw(entries(), "eval")
    assert group["seeds"][0]["y"] == [2, 6, 9]
    assert group["seeds"][0]["first"] == [0, 2, 4]
    assert group["seeds"][0]["last"] == [1, 3, 5]
    assert group["x"] == [100.5, 201]
    assert group["mean"] == [2, 5]
    assert group["low"][0] <= 2 <= group["high"][0]


@pytest.mark.parametrize(("state", "points"), [("dead", [2, 6]), ("finished", [2, 6, 9])])
def test_an_evaluation_that_goes_on_or_was_cut_has_no_point(entries, tmp_path, state, points):
    run = write_run(tmp_path / "0", evaluations=2, state=state.replace("dead", "running"))
    returns = [1, 3, 5, 7, 9]
    rows = [f"{k},{k // 2},{k // 2},1,{value}.0,1,0,0,1.5\n" for k, value in enumerate(returns)]
    (run / "evaluations.csv").write_text(EVALUATION + "".join(rows))
    (entry,) = entries()
    assert entry.row["state"] == state
    assert draw([entry], "eval")["seeds"][0]["y"] == points


def test_a_table_that_grows_is_read_on_and_one_that_was_cut_is_read_anew(entries, tmp_path):
    path = write_run(tmp_path / "a", episodes=20) / "episodes.csv"
    (entry,) = entries()
    tables = Tables()
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)

    def read():
        return tables.read(entry, "train").values.T.tolist()

    def rows(count):
        return [list(map(float, line.strip().split(","))) for line in lines[1 : count + 1]]

    path.write_text("".join(lines[:11]) + lines[11][:4])
    assert read() == rows(10)  # a row that is being written is not there yet
    with open(path, "a") as file:
        file.write(lines[11][4:] + "".join(lines[12:16]))
    assert read() == rows(15)
    other = "".join(lines[:6]) + lines[6].replace(",", "7,", 1)
    with open(path, "r+") as file:  # as a resume cuts it: the same file
        file.truncate()
        file.write(other + "".join(lines[7:]))
    os.utime(path, ns=(1, 1))
    assert len(read()) == 20
    assert read()[5][0] != rows(20)[5][0]


@pytest.mark.parametrize("size", [0, 5])
def test_a_table_that_had_no_whole_header_is_read_once_it_has_one(entries, tmp_path, size):
    path = write_run(tmp_path / "a", episodes=3) / "episodes.csv"
    (entry,) = entries()
    tables, text = Tables(), path.read_text()
    os.truncate(path, size)  # as a resume, or a full disk, leaves it
    assert not tables.read(entry, "train").column("episode").size
    with open(path, "a") as file:
        file.write(text[size:])
    assert tables.read(entry, "train").column("episode").tolist() == [0, 1, 2]


def test_the_table_that_is_read_is_not_the_one_that_is_forgotten(entries, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "KEPT_BYTES", 400)
    paths = [write_run(tmp_path / name, episodes=2) / "episodes.csv" for name in "ab"]
    first, second = entries()
    tables = Tables()
    for entry in (first, second):
        assert tables.read(entry, "train").column("episode").size == 2
    with open(paths[0], "a") as file:  # what was read first grows beyond what is kept
        file.writelines(paths[0].read_text().splitlines(keepends=True)[1:] * 2)
    assert tables.read(first, "train").column("episode").size == 6


def test_damaged_rows_are_left_out(entries, tmp_path):
    path = write_run(tmp_path / "a", episodes=3) / "episodes.csv"
    sound = path.read_text().splitlines()[1:]
    path.write_text(
        HEADER + "\n".join([sound[0], "1,2,x", "\0" * 40, *sound[1:], "9" * 400]) + "\n"
    )
    (entry,) = entries()
    assert draw([entry])["seeds"][0]["first"] == [0, 1, 2]


@pytest.mark.parametrize("axis", curves.AXES)
def test_each_axis_counts_what_it_says(entries, tmp_path, axis):
    run = write_run(tmp_path / "a", episodes=2)
    row = (run / "episodes.csv").read_text().splitlines()[2].split(",")
    wanted = {"steps": float(row[1]), "episodes": 1.0, "hours": float(row[7]) / 3600}[axis]
    (entry,) = entries()
    assert draw([entry], axis=axis)["seeds"][0]["x"][-1] == pytest.approx(wanted)


def test_any_metric_of_the_tensorboard_events_can_be_drawn(launch):
    directory = launch("agent=q_learning", "env=frozen_lake", "loop.max_episodes=5")
    library = Library([directory])
    library.refresh()
    (entry,) = library.entries.values()
    tables = Tables()
    tag = curves.tags(tables, entry)["train"][0]
    (group,) = curves.draw(tables, [[entry]], curves.View("train", tag, "episodes"))
    assert group["seeds"][0]["first"] == [0, 1, 2, 3, 4]


def test_events_are_found_where_the_loop_writes_them_within_the_run(launch, tmp_path):
    words = ("agent=random", "env=cartpole", "loop.max_episodes=3", "loop.eval_episodes=1")
    launch(*words, "loop.logdir=tb/train", "loop.eval_logdir=tb/eval", directory="runs/own")
    launch(*words, f"loop.logdir={tmp_path}/shared", directory="runs/outside")
    library = Library([tmp_path / "runs"])
    library.refresh()
    outside, own = sorted(library.entries.values(), key=lambda entry: entry.row["name"])
    assert len(draw([own], metric="train/return")["seeds"][0]["x"]) == 3
    (refused,) = draw([outside], metric="train/return")["refused"]
    assert "outside of the run's directory" in refused


GAPS = """
from gymnasium import Env, spaces

class Gaps(Env):
    observation_space, action_space = spaces.Discrete(9), spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.goal = self.np_random.random()
        return 0, {}

    def step(self, action):
        return 1, 1.0, True, False, {"goal": self.goal} if self.goal > 0.5 else {}
"""


def test_an_info_key_is_drawn_from_the_tables_without_what_is_not_known(launch, tmp_path):
    (tmp_path / "gaps.py").write_text(GAPS)
    words = ["env=gaps.py:Gaps", "loop.info_keys=[goal]", "agent=random", "loop.eval_episodes=4"]
    words += ["loop.max_episodes=40", "loop.episodes_per_eval=20"]
    for seed in (0, 1):
        launch(*words, f"seed={seed}", directory=f"runs/{seed}")
    library = Library([tmp_path / "runs"])
    library.refresh()
    runs = sorted(library.entries.values(), key=lambda entry: entry.row["name"])
    tables, means = Tables(), []
    for entry in runs:
        found = curves.tags(tables, entry)
        assert found["train"][0] == found["eval"][0] == "goal"
        assert not {"train/goal", "eval/goal"} & {*found["train"], *found["eval"]}
        goals = tables.read(entry, "eval").column("goal")
        assert np.isnan(goals).any()
        means.append([np.nanmean(part) for part in np.split(goals, 3)])  # the last is the final one
    (group,) = curves.draw(tables, [runs], curves.View("eval", "goal", "episodes"))
    for seed, (first, *rest) in zip(group["seeds"], means, strict=True):
        assert seed["y"] == pytest.approx([first, np.mean(rest)])
    assert group["x"] == [20, 40]
    (group,) = curves.draw(tables, [runs], curves.View("train", "goal", "episodes", 10))
    assert len(group["seeds"][0]["y"]) == 40
    assert not any(y is not None and y <= 0.5 for y in group["seeds"][0]["y"])
