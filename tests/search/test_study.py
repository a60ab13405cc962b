"""The study's journal: shared, locked, repaired, and of one space."""

import os

import pytest

from gym_loop.mistake import Failure, Mistake

optuna = pytest.importorskip("optuna", reason="needs the extra search")

from optuna.trial import TrialState  # noqa: E402

from gym_loop.search.report import Found  # noqa: E402
from gym_loop.search.space import Dimension, Dimensions, FixedSpaceSampler  # noqa: E402
from gym_loop.search.study import DEFINITION, GOAL, OVERRIDES, SOURCE, Study  # noqa: E402
from gym_loop.search.trials import Claims, is_launched  # noqa: E402
from tests.search.conftest import study as seen_by_optuna  # noqa: E402

SPACE = Dimensions(
    {
        "a.x": Dimension("a.x", "interval(0, 1)", optuna.distributions.FloatDistribution(0, 1)),
        "a.n": Dimension("a.n", "range(3)", optuna.distributions.IntDistribution(0, 2)),
    }
)


def study_in(folder, space=SPACE, sampler=None):
    sampler = sampler or (lambda number: optuna.samplers.RandomSampler(seed=number))
    return Study(folder, space.describe(), space, "maximize", sampler)


def test_what_is_told_is_there_for_the_next_launch_and_for_optuna(tmp_path):
    study = study_in(tmp_path)
    number = study.ask(1)
    study.report(number, 1, 0.5)
    study.note(number, GOAL, 3)
    study.tell(number, 0.75)

    [trial] = study_in(tmp_path).trials()
    assert (trial.value, trial.intermediate_values, trial.user_attrs[GOAL]) == (0.75, {1: 0.5}, 3)
    assert seen_by_optuna(tmp_path).best_value == 0.75


def test_a_torn_last_line_costs_that_line_alone(tmp_path):
    study = study_in(tmp_path)
    numbers = [study.ask(1) for _ in range(3)]
    study.tell(numbers[0], 1.0)
    journal = tmp_path / "study.log"
    whole = journal.read_bytes()
    study.tell(numbers[1], 2.0)
    for cut in (1, 20):
        torn = journal.read_bytes()[:-cut]
        assert len(torn) > len(whole)
        journal.write_bytes(torn)

        again = study_in(tmp_path)

        assert journal.read_bytes() == whole
        assert [t.state for t in again.trials()] == [TrialState.COMPLETE, *[TrialState.RUNNING] * 2]
        again.tell(numbers[1], 2.0)
        assert again.trials()[1].value == 2.0


def test_a_full_disk_is_one_line_and_the_next_launch_asks_for_the_same_trials(tmp_path, limited):
    (tmp_path / "whole").mkdir()
    whole, study = study_in(tmp_path / "whole"), study_in(tmp_path)
    for each in (whole, study):
        each.ask(1)
    size = (tmp_path / "study.log").stat().st_size
    for more in (0, 10, 300):
        limited(size + more)
        with pytest.raises(Failure, match=r"cannot write \S+study\.log: File too large; `ulimit"):
            study.ask(1)
        limited()
        study = study_in(tmp_path)
    study.finish_asking(1)
    while len(study.trials()) < 3:
        study.ask(1)
    while len(whole.trials()) < 3:
        whole.ask(1)
    assert [t.params for t in study.trials()] == [t.params for t in whole.trials()]


def test_a_trial_that_a_process_was_killed_at_while_it_asked_is_completed(tmp_path):
    undisturbed = study_in(tmp_path)
    undisturbed.ask(1)
    journal = tmp_path / "study.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    made = next(n for n, line in enumerate(lines) if b"datetime_start" in line)
    for kept in range(made + 1, len(lines)):
        journal.write_bytes(b"".join(lines[:kept]))
        study = study_in(tmp_path)
        [known] = [dict(trial.params) for trial in study.trials()]
        study.finish_asking(1)
        [trial] = study.trials()
        assert trial.params.keys() == SPACE.keys()
        assert known.items() <= trial.params.items()
        assert trial.user_attrs[GOAL] == 1
        assert len(trial.user_attrs[OVERRIDES]) == 2


def test_a_trial_does_not_depend_on_how_often_the_search_was_launched(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()

    def sampler(number):
        return optuna.samplers.TPESampler(seed=number, n_startup_trials=2)

    one = study_in(tmp_path / "one", sampler=sampler)
    for number in range(6):
        one.tell(one.ask(1), float(number))
        study = study_in(tmp_path / "many", sampler=sampler)
        study.tell(study.ask(1), float(number))
    many = study_in(tmp_path / "many")
    assert [t.params for t in one.trials()] == [t.params for t in many.trials()]


@pytest.mark.parametrize("seed", [0, 7])
def test_the_sampler_of_a_grid_draws_what_optunas_tpe_draws(tmp_path, seed):
    wide = Dimensions(SPACE)
    kinds = optuna.distributions.CategoricalDistribution(["b", "a"])
    wide["a.a"] = Dimension("a.a", "choice(b,a)", kinds)
    wide["a.one"] = Dimension("a.one", "range(1)", optuna.distributions.IntDistribution(3, 3))
    drawn = []
    for name, sampler in (
        ("own", lambda number: FixedSpaceSampler(wide, seed + number)),
        ("theirs", lambda number: optuna.samplers.TPESampler(seed=seed + number)),
    ):
        (tmp_path / name).mkdir()
        study = study_in(tmp_path / name, wide, sampler)
        for _ in range(16):
            number = study.ask(1)
            params = study.trials()[number].params
            study.report(number, 1, params["a.x"])
            if number % 3 != 1:  # else it is paused
                study.tell(number, params["a.x"] - params["a.n"])
        drawn.append([trial.params for trial in study.trials()])
    assert drawn[0] == drawn[1]


def test_a_study_of_another_space_is_refused_and_the_difference_named(tmp_path):
    study_in(tmp_path)
    other = Dimensions(SPACE)
    other["a.x"] = Dimension("a.x", "interval(0, 2)", SPACE["a.x"].distribution)
    del other["a.n"]
    before = (tmp_path / "study.log").read_bytes()
    with pytest.raises(Mistake) as mistake:
        study_in(tmp_path, other)
    assert "a.x was interval(0, 1), now interval(0, 2)" in mistake.value.message
    assert "a.n was range(3), now not varied" in mistake.value.message
    assert (tmp_path / "study.log").read_bytes() == before


def test_a_study_whose_space_was_edited_is_refused_unless_it_does_not_know_its_file(tmp_path):
    study = study_in(tmp_path)
    edited = {**SPACE.describe(), SOURCE: "space.py with SHA-256 ab"}
    with pytest.raises(Mistake, match="file was not varied, now space"):
        Study(tmp_path, edited, SPACE, "maximize", study.sampler)
    study.optuna.set_user_attr(DEFINITION, SPACE.describe())  # as older ones have it
    Study(tmp_path, edited, SPACE, "maximize", study.sampler)


def test_samplers_learn_from_what_paused_trials_have_reached(tmp_path):
    study = study_in(
        tmp_path, sampler=lambda number: optuna.samplers.TPESampler(seed=number, n_startup_trials=8)
    )
    for _ in range(40):
        number = study.ask(1)
        study.report(number, 1, -abs(study.trials()[number].params["a.x"] - 0.3))
    asked = study.trials()
    assert {trial.state for trial in asked} == {TrialState.RUNNING}
    distances = [abs(trial.params["a.x"] - 0.3) for trial in asked]
    assert sum(distances[20:]) < sum(distances[:8]) / 8 * 20 / 2
    study.note(0, GOAL, 3)  # it goes on
    study.report(0, 3, 1.0)
    study.tell(0, 1.0)
    assert study.trials()[0].state is TrialState.COMPLETE


def test_points_are_tried_first_and_once(tmp_path):
    study = study_in(tmp_path)
    for new in (2, 0):
        assert study.enqueue([{"a.x": 0.5}, {"a.n": 2, "a.x": 0.25}]) == new
        study = study_in(tmp_path)
    for _ in range(3):
        study.ask(1)
    first, second, third = study.trials()
    assert first.params["a.x"] == 0.5
    assert second.params == {"a.x": 0.25, "a.n": 2}
    assert third.params["a.x"] not in (0.5, 0.25)


def test_a_sampler_that_has_nothing_left_ends_no_search(tmp_path):
    grid = {"a.x": [0.5], "a.n": [1]}
    study = study_in(tmp_path, sampler=lambda number: optuna.samplers.GridSampler(grid))
    for value in (1.0, 2.0):
        study.tell(study.ask(1), value)
    assert [(t.params, t.value) for t in study.trials()] == [
        ({"a.x": 0.5, "a.n": 1}, 1.0),
        ({"a.x": 0.5, "a.n": 1}, 2.0),
    ]


def test_a_copy_that_shares_the_journal_stays_as_it_is(tmp_path):
    study_in(tmp_path).ask(1)
    copy = tmp_path / "copy"
    os.link(tmp_path / "study.log", copy)
    before = copy.read_bytes()

    study = study_in(tmp_path)
    study.ask(1)

    assert copy.read_bytes() == before
    assert len(study_in(tmp_path).trials()) == 2


def test_a_pipe_in_the_place_of_the_journal_is_refused(tmp_path):
    os.mkfifo(tmp_path / "study.log")

    with pytest.raises(Mistake, match=r"study\.log is no file"):
        study_in(tmp_path)


@pytest.mark.parametrize("kind", ["deep", "no JSON", "no log", "bytes"])
def test_a_journal_that_is_damaged_is_named_by_who_goes_on_with_it_and_who_reads_it(tmp_path, kind):
    study_in(tmp_path).ask(1)
    journal = tmp_path / "study.log"
    damage = {"deep": b"[" * 100_000, "no JSON": b"junk", "no log": b"[1]", "bytes": b"\xff\xfe"}
    journal.write_bytes(damage[kind] + b"\n" + journal.read_bytes())

    for look in (study_in, Found):
        with pytest.raises(Mistake, match=r"cannot read .*study\.log"):
            look(tmp_path)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (b'"goal":1', b'"goal":"x"'),
        (b'"goal":1', b'"goal":-5'),
        (b'"overrides":[', b'"overrides":[7,'),
    ],
)
def test_a_trial_that_runs_and_lacks_an_attribute_gets_it_again(tmp_path, then, now):
    study = study_in(tmp_path)
    study.ask(1)
    [whole] = study.trials()
    journal = tmp_path / "study.log"
    journal.write_bytes(journal.read_bytes().replace(then, now))

    study = study_in(tmp_path)
    study.finish_asking(1)

    [trial] = study.trials()
    assert (trial.params, trial.user_attrs) == (whole.params, whole.user_attrs)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (b'"goal"', b'"gaol"'),
        (b'"overrides"', b'"others"'),
        (b'"values":[0.75]', b'"values":["a"]'),
    ],
)
def test_a_trial_that_was_told_and_is_not_whole_is_a_damaged_journal(tmp_path, then, now):
    study = study_in(tmp_path)
    study.tell(study.ask(1), 0.75)
    journal = tmp_path / "study.log"
    journal.write_bytes(journal.read_bytes().replace(then, now))

    with pytest.raises(Mistake, match=r"study\.log is damaged: trial 0 is not whole"):
        study_in(tmp_path)
    assert Found(tmp_path).trials == []


def test_a_pipe_in_the_place_of_what_says_who_runs_which_job_is_refused(tmp_path):
    os.mkfifo(tmp_path / ".claims")

    with pytest.raises(Mistake, match="is no file"):
        Claims(tmp_path / ".claims")
    assert not is_launched(tmp_path)
