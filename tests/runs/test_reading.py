import contextlib
import io
import json
import os
import socket
import subprocess
import sys

import pytest

from gym_loop.mistake import Mistake
from gym_loop.runs import reading
from tests.run_directories import write_run


def test_finds_runs_at_any_depth_and_does_not_look_into_them(tmp_path):
    deep = write_run(tmp_path / "multirun" / "2026-11-22" / "08-00-00" / "0")
    single = write_run(tmp_path / "outputs" / "x")
    write_run(single / "checkpoints" / "episode-000010" / "agent")  # a run in a run is not one
    write_run(tmp_path / ".trash" / "x")
    (tmp_path / "outputs" / "empty").mkdir()
    (tmp_path / "outputs" / "loop").symlink_to(tmp_path)
    assert set(reading.find([tmp_path])) == {deep, single}
    twice = reading.find([tmp_path, tmp_path / "outputs", single])
    assert len(twice) == 2


def test_overrides_are_those_that_were_typed(tmp_path):
    words = [r"wrap=[my_file.py\:Mine]", "++env.kwargs.g=3", r"agent.name='a\:b'"]
    run = reading.RunContent(write_run(tmp_path / "run", overrides=words))
    typed = {"wrap": "[my_file.py:Mine]", "env.kwargs.g": "3", "agent.name": r"'a\:b'"}
    assert run.overrides == typed


def test_finds_runs_in_the_usual_places_when_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake) as raised:
        reading.find([])
    assert "no runs found in ./outputs or ./multirun" in raised.value.message
    write_run(tmp_path / "multirun" / "a" / "0")
    write_run(tmp_path / "elsewhere" / "a" / "0")
    assert [str(path) for path in reading.find([])] == ["multirun/a/0"]


def test_a_running_run_is_dead_once_its_lock_is_free(tmp_path):
    directory = write_run(tmp_path / "run", state="running", pid=os.getpid())
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import fcntl, sys\n"
            "lock = open(sys.argv[1] + '/.lock', 'w')\n"
            "fcntl.flock(lock, fcntl.LOCK_EX)\n"
            "print('locked', flush=True)\n"
            "sys.stdin.read()\n",
            str(directory),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "locked\n"
    assert reading.RunContent(directory).state == "running"
    holder.kill()
    holder.communicate()
    assert reading.RunContent(directory).state == "dead"


def test_without_a_lock_the_process_tells(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = write_run(tmp_path / "gone", state="running", pid=ended.pid)
    here = write_run(tmp_path / "here", state="running", pid=os.getpid())
    for directory in (gone, here):
        (directory / ".lock").unlink()
    assert reading.RunContent(gone).state == "dead"
    assert reading.RunContent(here).state == "running"
    silent(here, 3600)  # the number now belongs to another process
    assert reading.RunContent(here).state == "dead"


def silent(directory, seconds):
    """Make all of a run's files older."""
    for file in directory.iterdir():
        age = file.stat().st_mtime - seconds
        os.utime(file, (age, age))


def test_on_another_host_the_last_sign_of_life_tells(tmp_path):
    directory = write_run(tmp_path / "run", state="running", host=socket.gethostname() + "-not")
    assert reading.RunContent(directory).state == "running"
    silent(directory, 3600)
    assert reading.RunContent(directory).state == "dead"


def test_a_run_elsewhere_with_long_episodes_is_given_more_time(tmp_path):
    directory = write_run(tmp_path / "run", state="running", host="elsewhere")
    rows = [f"{k},{k + 1},1,0.0,1,0,0,{1800.0 * (k + 1)}" for k in range(3)]
    head = (directory / "episodes.csv").read_text().splitlines()[0]
    (directory / "episodes.csv").write_text("\n".join([head, *rows, ""]))
    silent(directory, 3600)
    assert reading.RunContent(directory).state == "running"


def test_the_time_left_is_that_of_the_nearer_limit(tmp_path):
    directory = write_run(tmp_path / "run", state="running", episodes=0, host="elsewhere")
    rows = [f"{k},{10 * (k + 1)},10,1.0,1,0,0,{2.0 * (k + 1)}" for k in range(50)]
    (directory / "episodes.csv").write_text(
        "episode,steps,length,return,terminated,truncated,seed,seconds\n"
        + "".join(f"{row}\n" for row in rows)
    )
    content = json.loads((directory / "run.json").read_text())
    content["config"]["loop"] = {"max_episodes": 100, "max_steps": None}
    (directory / "run.json").write_text(json.dumps(content))
    # 50 episodes are left at 2 s each, 250 steps at 0.2 s.
    assert reading.RunContent(directory).seconds_left == pytest.approx(100, abs=5)
    content["config"]["loop"] = {"max_episodes": 100, "max_steps": 750}
    (directory / "run.json").write_text(json.dumps(content))
    assert reading.RunContent(directory).seconds_left == pytest.approx(50, abs=5)
    assert reading.RunContent(directory).steps_per_second == pytest.approx(5)


def test_the_return_is_that_of_the_last_hundred_episodes(tmp_path):
    run = reading.RunContent(write_run(tmp_path / "run", episodes=250))
    returns = run.table("episodes.csv", ["return"])["return"]
    assert len(returns) == 250
    assert run.last_return == pytest.approx(sum(returns[-100:]) / 100)


def test_the_final_evaluation_is_not_mixed_with_one_just_before_it(tmp_path):
    directory = write_run(tmp_path / "run", evaluations=3, result=None)
    header = (directory / "evaluations.csv").read_text().splitlines()[0]
    rows = [f"{k},50,100,10,{value},1,0,0,1.0" for k, value in enumerate([1, 1, 1, 4, 5, 6])]
    (directory / "evaluations.csv").write_text("\n".join([header, *rows, ""]))
    assert reading.RunContent(directory).evaluation == 5


@pytest.mark.parametrize(
    ("damage", "warning"),
    [
        (lambda d: (d / "run.json").write_text(""), "run.json is empty"),
        (lambda d: (d / "run.json").write_text('{"state": "fin'), "run.json is damaged"),
        (lambda d: (d / "run.json").write_text("[" * 100_000), "run.json is damaged"),
        (lambda d: (d / "run.json").write_bytes(b"\xff\xfe"), "run.json is damaged"),
        (lambda d: (d / "run.json").write_text('["state"]'), "run.json is not a run's"),
        (lambda d: (d / "run.json").write_text('{"state": "finished"}'), "holds no config"),
        (lambda d: (d / "run.json").unlink(), "no run.json"),
        (lambda d: (d / ".hydra").rmdir(), "no .hydra"),
        (lambda d: os.truncate(d / "episodes.csv", 500), "episodes.csv: the last row is cut"),
        (lambda d: os.truncate(d / "evaluations.csv", 150), "evaluations.csv: the last row is cut"),
        (lambda d: (d / "episodes.csv").write_text("a,b\n1,2\n"), "episodes.csv has no columns"),
        (lambda d: spoil(d / "episodes.csv"), "episodes.csv: 1 damaged row left out"),
        (lambda d: pipe(d / "episodes.csv"), "cannot read episodes.csv: not a regular file"),
        (lambda d: pipe(d / "run.json"), "cannot read run.json: not a regular file"),
        (lambda d: sparse(d / "run.json"), "cannot read run.json: larger than"),
        (lambda d: lead_out(d / "run.json"), "cannot read run.json: it leads out of the run's"),
        (lambda d: lead_out(d / "episodes.csv"), "cannot read episodes.csv: it leads out of"),
        (lambda d: (d / "run.json").write_text('{"state": ' + "9" * 5000), "run.json is damaged"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_read(tmp_path, damage, warning):
    directory = write_run(tmp_path / "run")
    damage(directory)
    run = reading.RunContent(directory)
    _ = run.state, run.start, run.agent, run.env, run.episodes, run.last_return, run.evaluation
    _ = run.overrides, run.seed, run.error, run.seconds_left, run.steps_per_second
    assert any(warning in line for line in run.warnings), run.warnings


def sparse(file):
    os.truncate(file, 1 << 40)


def lead_out(file):
    elsewhere = file.parent.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def test_a_config_may_be_deep(tmp_path):
    directory = write_run(tmp_path / "run")
    deep = '{"a": ' * 700 + "[" * 200 + "]" * 200 + "}" * 700
    (directory / "run.json").write_text(f'{{"state": "finished", "config": {{"agent": {deep}}}}}')
    leaves = reading.flat(reading.RunContent(directory).config)
    assert [key.count("a.a") > 300 for key in leaves] == [True]


def spoil(file):
    lines = file.read_text().splitlines()
    lines[10] = "9,abc,1"
    file.write_text("\n".join([*lines, ""]))


def test_values_of_a_wrong_type_break_nothing(tmp_path):
    directory = write_run(tmp_path / "run")
    content = {"state": "running", "overrides": 7, "start": [1], "steps": "x", "episodes": None}
    content |= {"seconds": {}, "result": "NaN", "error": 3, "git": "x", "host": None, "pid": "x"}
    content["config"] = {"agent": 1, "env": [], "loop": None, "seed": {}}
    (directory / "run.json").write_text(json.dumps(content))
    run = reading.RunContent(directory)
    assert (run.agent, run.env, run.overrides, run.seed) == ("", "", {}, None)
    assert run.episodes == 50
    assert run.evaluation is not None
    assert run.state in ("running", "dead")
    assert run.error == "3"


def test_what_would_move_the_cursor_is_not_printed(tmp_path):
    directory = write_run(
        tmp_path / "run", agent="\x1b[2Jevil", state="\x1b]0;x\x07", error="\x1bc"
    )
    run = reading.RunContent(directory)
    assert "\x1b" not in "".join([run.agent, run.state, run.error, *run.overrides.values()])


HOSTILE = (
    *(10**400, -(10**400), 1e308, float("inf"), float("nan"), True, None, "\ud800", "a\0b"),
    *([], {}, "/etc", "../..", "\x1b[2J" * 5000, {"directory": "/", "episode": 10**400}),
)


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_one_run_holds_the_others_are_listed_and_reported(tmp_path, value):
    pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')
    for seed in range(2):
        write_run(tmp_path / "outputs" / f"sound-{seed}", seed=seed)
    directory = write_run(tmp_path / "outputs" / "hostile")
    content = json.loads((directory / "run.json").read_text())
    config = {**content["config"], "seed": value, "\ud800\x1b": value}
    config["loop"] = dict.fromkeys(["max_episodes", "eval_episodes", "record_dir", "logdir"], value)
    hostile = dict.fromkeys({**content, "parent": 0, "warnings": 0}, value)
    hostile |= {"state": "finished", "config": config}
    (directory / "run.json").write_text(json.dumps(hostile))
    with open(directory / "episodes.csv", "a") as table:
        table.write("1e999,1e999,1,1e308,1,0,0,nan\n\0\n9,nan,1,-1e308,1,0,0,1e999\n")
    from gym_loop.commands import diff, ls, report

    with contextlib.chdir(tmp_path):
        for main, words in (
            *((ls.main, []), (ls.main, ["--json"]), (diff.main, ["outputs/hostile"] * 2)),
            *((report.main, ["--html", "page.html"]), (report.main, ["--json", "--unfinished"])),
            (report.main, ["--metric", "steps_per_second"]),
        ):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                main(words)
            assert "sound-1" in out.getvalue() or main is not ls.main
            assert "\x1b[2J" not in out.getvalue()
            out.getvalue().encode()
    assert "sound-1" in (tmp_path / "page.html").read_text()


def test_a_clock_that_is_ahead_makes_no_run_live_for_ever(tmp_path):
    directory = write_run(tmp_path / "run", state="running", host="elsewhere")
    silent(directory, -300)  # clocks differ a little
    assert reading.RunContent(directory).state == "running"
    silent(directory, -86400)
    run = reading.RunContent(directory)
    assert run.state == "dead"
    assert any("in the future by this machine's clock" in line for line in run.warnings)


def test_a_sparse_table_of_a_terabyte_is_not_read(tmp_path):
    directory = write_run(tmp_path / "run", result=None)
    for name in ("episodes.csv", "evaluations.csv"):
        sparse(directory / name)
    run = reading.RunContent(directory)
    assert (run.last_evaluation, run.last_rows) == ([], [])
    assert run.table("episodes.csv", ["return"]) == {"return": []}
    assert any("cannot read episodes.csv: larger than" in line for line in run.warnings)


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_of_evaluations_the_last_whole_one_counts(tmp_path, state):
    directory = write_run(tmp_path / "run", evaluations=4, result=None, state=state)

    def evaluated(*places):
        rows = [f"{k},{at},{at},9,{k}.0,1,0,0,1.0" for k, at in enumerate(places)]
        header = (directory / "evaluations.csv").read_text().splitlines()[0]
        (directory / "evaluations.csv").write_text("\n".join([header, *rows, ""]))
        return [row["return"] for row in reading.RunContent(directory).last_evaluation]

    assert evaluated(*[10] * 4, *[20] * 4, *[30] * 3) == [4, 5, 6, 7]
    assert evaluated(*[10] * 4, *[20] * 4) == [4, 5, 6, 7]
    assert evaluated(*[10] * 6) == [0, 1, 2, 3]  # the final one was cut, where another stands
    assert evaluated(*[10] * 3) == []
    assert evaluated(*[10] * 3, *[20] * 2) == [0, 1, 2]  # there were fewer when it began
    assert evaluated(*range(5000), *[5000] * 2)[0] == 4999


def test_the_speed_lately_leaves_evaluations_out(tmp_path):
    directory = write_run(tmp_path / "run", state="running", host="elsewhere")
    lines = (directory / "episodes.csv").read_text().splitlines()[:1]
    lines += [f"{k},{10 * (k + 1)},10,1,1,0,0,{k + 1.0 + 50 * (k >= 15)}" for k in range(20)]
    (directory / "episodes.csv").write_text("\n".join([*lines, ""]))
    header = (directory / "evaluations.csv").read_text().splitlines()[0]
    rows = [f"{k},15,150,9,1,1,0,0,{15 + 25.0 * (k + 1)}" for k in range(2)]
    (directory / "evaluations.csv").write_text("\n".join([header, *rows, ""]))
    assert reading.RunContent(directory).state == "running"
    assert reading.RunContent(directory).steps_per_second == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.09342726364983708", "0.09343"),
        ("-0.30000000000000004", "-0.3"),
        ("1.8871279288939e-05", "1.887e-05"),
        *((own, own) for own in ("0.001234", "1234567890", "0.1,0.2,0.3", "a.123456789", "null")),
    ],
)
def test_a_long_fraction_is_shown_with_four_digits(text, shown):
    assert reading.brief(text) == shown
