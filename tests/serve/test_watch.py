"""Watching: asked for once a folder, played in another process, verified, kept elsewhere."""

import glob
import html
import os
import re
import signal
import time
from pathlib import Path

import pytest

from gym_loop.serve import watch
from tests.run_directories import write_run

ENV = """
import pathlib
pathlib.Path({marker!r}).touch()
import gymnasium

class Env(gymnasium.Env):
    metadata = {{"render_fps": 10, "render_modes": ["rgb_array"]}}
    observation_space = gymnasium.spaces.Discrete(10)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.at = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return 0, {{}}

    def step(self, action):
        self.at += 1
        return self.at % 10, {reward}, self.at == 5, False, {{}}

    def render(self):
        import numpy
        return numpy.full((32, 32, 3), 40 * self.at, numpy.uint8)
"""


@pytest.fixture
def run(launch, tmp_path, monkeypatch):
    """A run in an environment of the user's own, whose module leaves a marker when imported."""
    pytest.importorskip("gymnasium", reason='needs: pip install "gym-loop[gymnasium]"')
    marker = tmp_path.with_name(f"{tmp_path.name}-marker")
    name = f"own_env_{tmp_path.name}".replace("-", "_")

    def write(reward="float(self.at)"):
        (tmp_path / f"{name}.py").write_text(ENV.format(marker=str(marker), reward=reward))

    write()
    monkeypatch.syspath_prepend(tmp_path)
    directory = launch("agent=random", f"env={name}:Env", "loop.max_episodes=3", directory="runs/a")
    marker.unlink()
    return directory, marker, write


def film(visitor, run, episode=1, kind="train"):
    """Press "watch", and wait."""
    status, answer = visitor.post("/api/watch", run=run, kind=kind, episode=episode)
    assert status == 200, answer
    while answer["state"] == "playing":
        time.sleep(0.1)
        _, answer = visitor.get(f"/api/film/{answer['film']}")
    return answer


def lives(process):
    """Whether a process is there, and no more than waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def content(directory):
    """All files below a directory, with their bytes and times."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
    }


def test_nothing_is_run_before_somebody_trusts_the_folder_and_the_run_stays_as_it_is(run, serve):
    directory, marker, _ = run
    before = content(directory)
    visitor = serve("runs")
    ((_, row),) = visitor.runs().items()
    key = row["id"]
    for path in (
        *(f"/run/{key}", f"/api/run/{key}", f"/api/log/{key}", f"/api/part/{key}/{key}/train"),
        *(f"/api/episode/{key}/train/best", f"/api/episode/{key}/eval/last"),
    ):
        assert visitor.raw("GET", path)[0] == 200, path
    for path, asked in (
        ("/api/tags", {"runs": [key]}),
        ("/api/compare", {"runs": [key]}),
        ("/api/curves", {"groups": [[key]], "kind": "train", "axis": "steps"}),
    ):
        assert visitor.post(path, **asked)[0] == 200, path
    answer = film(visitor, key)
    assert answer == {"state": "trust", "folder": str(directory.parent)}
    assert not marker.exists()

    assert visitor.post("/api/trust", run=key)[0] == 200
    answer = film(visitor, key)
    assert (answer["state"], answer["difference"]) == ("ready", "")
    assert marker.exists()
    status, headers, video = visitor.raw("GET", f"/film/{answer['film']}")
    assert (status, headers["content-type"]) == (200, "video/mp4")
    assert video[4:8] == b"ftyp"
    assert visitor.raw("GET", f"/film/{answer['film']}", Range="bytes=4-7")[2] == b"ftyp"
    assert content(directory) == before

    marker.unlink()  # another time, it is there already
    assert film(visitor, key) == answer
    assert not marker.exists()
    assert film(visitor, key, episode=2)["film"] != answer["film"]


def test_an_episode_that_plays_differently_today_is_shown_and_says_so(run, serve):
    _, _, rewrite = run
    rewrite(reward="-1.0")
    visitor = serve("runs")
    ((_, row),) = visitor.runs().items()
    visitor.post("/api/trust", run=row["id"])
    answer = film(visitor, row["id"])
    assert answer["state"] == "ready"
    assert "differs at step 1: the reward is -1.0, recorded is 1.0" in answer["difference"]


def test_what_cannot_be_played_says_why_in_a_line(run, serve):
    directory, _, _ = run
    next(directory.parents[1].glob("own_env_*.py")).write_text("import nonsense_module\n")
    visitor = serve("runs")
    ((_, row),) = visitor.runs().items()
    visitor.post("/api/trust", run=row["id"])
    answer = film(visitor, row["id"])
    assert answer["state"] == "failed"
    assert "nonsense_module" in answer["reason"]
    assert "\n" not in answer["reason"]
    assert visitor.post("/api/watch", run=row["id"], kind="train", episode=99)[0] == 400


def test_the_films_that_nobody_asks_for_make_room_for_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MOST_BYTES", 2500)
    cinema = watch.Cinema(tmp_path)
    for age, name in enumerate("dcba"):
        for suffix in (".mp4", ".json"):
            path = tmp_path / (name * 32 + suffix)
            path.write_bytes(b"{}" + bytes(998))
            os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "others.txt").touch()
    cinema._forget()
    assert sorted(path.name[0] for path in tmp_path.glob("*.mp4")) == ["c", "d"]
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert (tmp_path / "others.txt").exists()


@pytest.mark.parametrize("note", ["", "[]", "3", "[" * 100_000])
def test_a_film_whose_note_is_damaged_is_none(tmp_path, note):
    key = "0" * 32
    (tmp_path / f"{key}.mp4").touch()
    (tmp_path / f"{key}.json").write_text(note)
    known = watch.Cinema(tmp_path).state(key)
    assert known == {"state": "failed", "reason": "no such film; press again"}


def test_films_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert watch.cache_directory().is_relative_to(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert watch.cache_directory().is_relative_to(tmp_path / "home" / ".cache")


def test_runs_that_have_not_finished_are_compared_by_what_they_have_so_far(serve, tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / str(seed), seed=seed, host="elsewhere", state="stopped")
    visitor = serve("runs")
    keys = [row["id"] for row in visitor.runs().values()]
    status, report = visitor.post("/api/compare", runs=keys)
    assert status == 200, report
    assert "Scored by" in report["html"]
    assert "one config, seeds aside" in report["html"]
    status, answer = visitor.post("/api/compare", runs=[])
    assert (status, answer) == (400, {"error": "choose runs to compare that can be read"})


def test_a_run_that_is_refused_is_left_out_of_a_comparison_by_its_name(serve, tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / "runs" / name)
    (tmp_path / "runs" / "two" / "gym_loop.log").symlink_to("/etc/hostname")
    visitor = serve("runs")
    keys = [row["id"] for row in visitor.runs().values()]
    status, answer = visitor.post("/api/compare", runs=keys)
    assert status == 200
    assert "two is left out: gym_loop.log is a link" in answer["html"]
    (refused,) = (row["id"] for name, row in visitor.runs().items() if name == "two")
    assert visitor.post("/api/compare", runs=[refused])[0] == 400


def test_configs_are_compared_where_there_is_nothing_to_score(serve, tmp_path):
    words = '<b id="x">&amp;'
    for lr in ("0.1", words):
        begun = {"episodes": 0, "evaluations": 0, "host": "elsewhere", "state": "running"}
        write_run(tmp_path / f"runs/{len(lr)}", parameters={"lr": lr}, result=None, **begun)
    visitor = serve("runs")
    keys = [row["id"] for row in visitor.runs().values()]
    status, answer = visitor.post("/api/compare", runs=keys)
    assert status == 200
    assert "no run to score" in answer["html"]
    shown = re.findall(r'<td class="mid">(.*?)</td>', answer["html"])
    assert sorted(map(html.unescape, shown)) == sorted(["0.1", words])
    assert "<b id" not in answer["html"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_plays_ends_with_the_server(run, serve, number):
    _, marker, write = run
    write("float(self.at) if self.render_mode is None else __import__('time').sleep(600)")
    visitor = serve("runs")
    ((_, row),) = visitor.runs().items()
    visitor.post("/api/trust", run=row["id"])
    visitor.post("/api/watch", run=row["id"], kind="train", episode=1)
    while not marker.exists():
        time.sleep(0.1)
    children = f"/proc/{visitor.process.pid}/task/*/children"
    (player,) = (n for path in glob.glob(children) for n in open(path).read().split())
    visitor.process.send_signal(number)
    assert visitor.process.wait(timeout=30) == 128 + number
    deadline = time.monotonic() + 30
    while lives(player):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert visitor.errors() == ""
