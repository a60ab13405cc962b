"""What is known of an episode without playing it, and where two runs part."""

import json
import zipfile

import numpy as np
import pytest

from gym_loop.mistake import Failure, Mistake
from gym_loop.runs import traces
from gym_loop.serve import episodes, files
from gym_loop.serve.curves import Tables
from gym_loop.serve.files import RefusedFileError
from gym_loop.serve.library import Library
from tests.run_directories import write_run


@pytest.fixture
def entry(tmp_path):
    """Write a run whose traces hold these episodes: (seed, actions, rewards)."""

    def make(name, recorded, files=1):
        run = write_run(tmp_path / name, episodes=len(recorded))
        (run / "traces").mkdir()
        size = -(-len(recorded) // files)
        for first in range(0, len(recorded), size):
            rows, actions, rewards = [], [], []
            for number, (seed, own, gained) in enumerate(recorded[first : first + size], first):
                rows += [number, seed, len(own), 1, 0]
                actions += own
                rewards += gained
            content = traces.pack(traces.gather(rows, actions, rewards))
            (run / "traces" / traces.name("train", first)).write_bytes(content)
        library = Library([run])
        library.refresh()
        return next(iter(library.entries.values()))

    return make


RECORDED = [(11, [0, 1, 1], [1.0, 1.0, 0.5]), (12, [1], [2.0]), (13, [0, 0], [0.0, -1.0])]


def changed(place, **parts):
    recorded = list(RECORDED)
    known = dict(zip(("seed", "actions", "rewards"), recorded[place], strict=True)) | parts
    recorded[place] = tuple(known.values())
    return recorded


def test_rewards_and_actions_are_those_that_were_recorded(entry):
    run = entry("a", RECORDED)
    facts = episodes.facts(episodes.load(run, "train", 0))
    assert (facts["length"], facts["return"], facts["seed"]) == (3, 2.5, 11)
    assert (facts["rewards"], facts["returns"]) == ([1, 1, 0.5], [1, 2, 2.5])
    assert [part["y"] for part in facts["actions"]] == [[0, 1, 1]]


def test_actions_of_several_parts_have_a_line_each(entry):
    actions = [np.array([0.5, -1.0], np.float32), np.array([0.25, 1.0], np.float32)]
    facts = episodes.facts(episodes.load(entry("a", [(1, actions, [0.0, 0.0])]), "train", 0))
    assert [(part["name"], part["y"]) for part in facts["actions"]] == [
        ("[0]", [0.5, 0.25]),
        ("[1]", [-1, 1]),
    ]


def test_actions_of_named_parts_have_a_line_for_each_that_is_a_number(entry):
    actions = [{"grip": n, "arm": (0.5 * n, [n, -n]), "word": "up"} for n in range(3)]
    facts = episodes.facts(episodes.load(entry("a", [(1, actions, [0.0] * 3)]), "train", 0))
    assert {part["name"]: part["y"] for part in facts["actions"]} == {
        "grip": [0, 1, 2],
        "arm.0": [0, 0.5, 1],
        "arm.1[0]": [0, 1, 2],
        "arm.1[1]": [0, -1, -2],
    }


def test_runs_part_in_actions_of_named_parts(entry):
    one, two = ([{"grip": 0}, {"grip": n}] for n in (1, 2))
    runs = [entry(name, [(1, own, [0.0, 0.0])]) for name, own in (("a", one), ("b", two))]
    parted = episodes.parting(*runs, "train")
    assert (parted["episode"], parted["step"]) == (0, 2)
    assert parted["what"].startswith("action {'grip': 1} and {'grip': 2}, after the same rewards")


def test_a_long_episode_is_thinned_out(entry):
    run = entry("a", [(1, [0] * 10_000, [1.0] * 10_000)])
    facts = episodes.facts(episodes.load(run, "train", 0))
    assert (facts["length"], facts["every"]) == (10_000, 7)
    assert len(facts["rewards"]) == len(facts["actions"][0]["y"]) <= episodes.DRAWN
    assert facts["returns"][1] == 8


def test_best_worst_and_last_are_found_by_their_returns(entry, tmp_path):
    run, tables = entry("a", RECORDED), Tables()
    rows = (tmp_path / "a" / "episodes.csv").read_text().splitlines()[1:]
    returns = [float(row.split(",")[3]) for row in rows]
    assert episodes.find(tables, run, "train", "best") == int(np.argmax(returns))
    assert episodes.find(tables, run, "train", "worst") == int(np.argmin(returns))
    assert episodes.find(tables, run, "train", "last") == 2
    with open(tmp_path / "a" / "episodes.csv", "a") as table:  # its trace is not kept yet
        table.write("3,9999,20,1e9,1,0,14,9.0\n")
    for which, number in (("best", int(np.argmax(returns))), ("last", 2)):
        assert episodes.find(Tables(), run, "train", which) == number
    with pytest.raises(Mistake) as caught:
        episodes.find(tables, run, "train", "../..")
    assert "expected a number, best, worst or last" in caught.value.message


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize(
    ("other", "episode", "step", "what"),
    [
        (RECORDED, 2, None, "the same in every episode"),
        (RECORDED[:2], 1, None, "as far as the second goes"),
        (changed(1, seed=99), 1, 0, "reset seed 12 and 99"),
        (changed(0, actions=[0, 0, 1]), 0, 2, "action 1 and 0"),
        (changed(2, rewards=[0.0, 1.0]), 2, 2, "reward -1.0 and 1.0"),
        (changed(2, actions=[0], rewards=[0.0]), 2, 1, "end 2 steps, terminated True"),
    ],
)
def test_two_runs_part_where_they_first_differ(entry, other, episode, step, what, files):
    parted = episodes.parting(entry("a", RECORDED), entry("b", other, files), "train")
    assert (parted["episode"], parted["step"]) == (episode, step)
    assert what in parted["what"]


def test_what_cannot_be_played_again_says_why(entry, tmp_path):
    run = entry("a", [(-1, [0], [1.0]), *RECORDED[1:]])
    for kind, number, why in (
        ("train", 7, "this run has no training episode 7; expected one of 0-2"),
        ("train", 0, "without a seed of its own"),
        ("eval", 0, "this run has no traces of evaluation episodes"),
    ):
        with pytest.raises(Mistake) as caught:
            episodes.load(run, kind, number)
        assert why in caught.value.message
    (tmp_path / "a" / "traces" / "train-000000.npz").write_bytes(b"PK no archive")
    with pytest.raises(Failure, match="damaged"):
        episodes.load(run, "train", 1)


@pytest.mark.parametrize(("old", "new"), [("return", "retur n"), ("episode", "x")])
def test_a_table_that_lacks_a_column_is_told_of(entry, tmp_path, old, new):
    run, path = entry("a", RECORDED), tmp_path / "a" / "episodes.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(Mistake, match="it lacks the column episode or return"):
        episodes.find(Tables(), run, "train", "best")


def test_a_row_whose_episode_is_no_number_is_not_found(entry, tmp_path):
    run, path = entry("a", RECORDED), tmp_path / "a" / "episodes.csv"
    header, *rows = path.read_text().splitlines(keepends=True)
    rows[2] = "-inf," + rows[2].partition(",")[2]
    path.write_text("".join([header, *rows]))
    assert episodes.find(Tables(), run, "train", "last") == 1


@pytest.mark.parametrize(
    "text", [b"{}", b'{"array":["|O8",[1],"00"]}', b"[" * 5000, b'{"torch":1}', b'{"x":1}']
)
def test_actions_that_are_damaged_are_told_in_one_line(entry, tmp_path, text):
    one, two = entry("a", RECORDED), entry("b", RECORDED)
    path = tmp_path / "a" / "traces" / "train-000000.npz"
    arrays = {name: array for name, array in traces.load(path).items() if name != "action"}
    arrays |= {"json": np.frombuffer(text * 6, np.uint8), "json_length": np.full(6, len(text))}
    np.savez(path, **arrays)
    with pytest.raises(Failure, match=r"^traces/train-000000.npz is damaged: "):
        episodes.load(one, "train", 0)
    with pytest.raises(Failure, match=r"^a trace of one of the two runs is damaged: "):
        episodes.parting(one, two, "train")


def test_traces_that_unpack_to_anything_or_lead_elsewhere_are_not_read(
    entry, tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "MOST_UNPACKED", 10_000_000)
    run = entry("a", RECORDED)
    path = tmp_path / "a" / "traces" / "train-000000.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("episode.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(11):
            member.write(bytes(1_000_000))
    with pytest.raises(RefusedFileError, match="unpacks to"):
        episodes.load(run, "train", 0)
    path.unlink()
    path.symlink_to(tmp_path.with_name("elsewhere.npz"))
    with pytest.raises(RefusedFileError, match="links are not followed"):
        episodes.load(run, "train", 0)


def test_a_pickle_among_the_traces_is_not_loaded(entry, tmp_path):
    run, marker = entry("a", RECORDED), tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return open, (str(marker), "w")

    objects = {name: np.array([Evil()], object) for name in (*traces.PER_EPISODE, "reward")}
    np.savez(tmp_path / "a" / "traces" / "train-000000.npz", **objects)
    with pytest.raises(Failure):
        episodes.load(run, "train", 0)
    assert not marker.exists()
    assert json.dumps(run.row)


@pytest.mark.parametrize(
    "rewards", [[np.inf, -np.inf], [1.7e308, 1.7e308], [np.nan, 1.0]], ids=["inf", "sum", "nan"]
)
@pytest.mark.filterwarnings("error")  # NumPy's, on the server's terminal
def test_an_episode_is_told_of_whatever_its_rewards_add_up_to(rewards):
    told = episodes.facts(traces.Trace(3, 0, [0, 1], np.array(rewards), True, False))
    assert told["return"] is None
    assert json.loads(json.dumps(told, allow_nan=False))["length"] == 2
