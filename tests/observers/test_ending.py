"""A run that has ended early is finished."""

import json

import pytest

import gym_loop
from gym_loop import Mistake

# CartPole with a random agent: an evaluation's mean is the same each time, some 20.
WORDS = ("env=cartpole", "loop.eval_episodes=3", "loop.episodes_per_eval=2")


def at_least(value, evaluations=1):
    return f"loop.stop_at={{metric: eval/return, at_least: {value}, evaluations: {evaluations}}}"


def told(run):
    return json.loads((run.path / "run.json").read_text())


@pytest.mark.parametrize("loop", ["default", "vector"])
def test_training_ends_after_as_many_good_evaluations_as_are_asked_for(loop, tmp_path):
    words = [*WORDS, f"loop={loop}", "loop.max_episodes=30", at_least(1, 3)]
    words += ["loop.num_envs=1", "loop.episodes_per_round=2"] if loop == "vector" else []
    run = gym_loop.run(*words, directory=tmp_path / "run")
    assert (run.state, len(run.episodes)) == ("finished", 6)
    assert told(run)["ended_by"] == "stop_at"
    assert run.result is not None


SOLVABLE = """
from gymnasium import Env, spaces

class Solvable(Env):
    observation_space, action_space = spaces.Discrete(9), spaces.Discrete(2)
    games = 0

    def __init__(self, always=True):
        self.always = always

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.games += 1
        return 0, {}

    def step(self, action):
        solved = self.games > 3  # from the second evaluation's second episode on
        return 1, 1.0, True, False, {"solved": solved} if solved or self.always else {}
"""


@pytest.mark.parametrize("always", [True, False])
def test_an_info_key_ends_training_if_no_episode_lacks_it(always, tmp_path):
    (tmp_path / "solvable.py").write_text(SOLVABLE)
    words = [f"env={tmp_path / 'solvable.py'}:Solvable", f"env.always={always}", "agent=random"]
    words += ["loop.max_episodes=12", "loop.eval_episodes=2", "loop.episodes_per_eval=2"]
    words += ["loop.info_keys=[solved]", "loop.stop_at={metric: eval/solved, at_least: 0.9}"]
    run = gym_loop.run(*words, directory=tmp_path / "run")
    assert (len(run.episodes), told(run)["ended_by"]) == (6, "stop_at")


def test_evaluations_that_are_not_good_end_nothing(tmp_path):
    run = gym_loop.run(*WORDS, "loop.max_episodes=8", at_least(499), directory=tmp_path / "run")
    assert (len(run.episodes), told(run)["ended_by"]) == (8, "max_episodes")


CLIMBS = """
from gym_loop.agents import RandomAgent

class Climbs(RandomAgent):
    '''Balances longer in one evaluation, then worse, then longer again.'''
    def begin_episode(self, n):
        self.n = getattr(self, "n", 0)
        if self.training:
            self.seen = n
    def act(self, state, n):
        if not self.training and self.seen in (1, 5, 7, 9):
            return int(state[2] + state[3] > 0)
        return 0
"""


def test_good_evaluations_count_only_in_a_row(tmp_path):
    (tmp_path / "climbs.py").write_text(CLIMBS)
    agent = f"agent={tmp_path / 'climbs.py'}:Climbs"
    words = (agent, *WORDS, "loop.max_episodes=30", at_least(60, 3))
    run = gym_loop.run(*words, directory=tmp_path / "run")
    assert len(run.episodes) == 10  # after episodes 6, 8 and 10; the one after 2 stands alone


def test_repeating_the_launch_runs_nothing_and_a_higher_limit_extends(tmp_path, capsys):
    words = (*WORDS, at_least(1, 2))
    run = gym_loop.run(*words, "loop.max_episodes=20", directory=tmp_path / "run")
    assert len(run.episodes) == 4
    capsys.readouterr()
    again = gym_loop.run(*words, "loop.max_episodes=20", directory=tmp_path / "run")
    assert "is finished" in capsys.readouterr().out
    assert told(again)["launches"] == 1
    longer = gym_loop.resume(run, "loop.max_episodes=21", "loop.stop_at=null")
    assert (longer.state, len(longer.episodes)) == ("finished", 21)


def test_a_higher_limit_asks_for_new_evaluations(tmp_path):
    words = (*WORDS, at_least(1, 2), "loop.max_episodes=20")
    run = gym_loop.run(*words, directory=tmp_path / "run")
    assert len(gym_loop.resume(run, "loop.max_episodes=21").episodes) == 8


@pytest.mark.parametrize("word", ["loop.stop_at.evaluations=3", at_least(1, 3)])
def test_another_rule_takes_a_run_further_that_the_first_has_ended(tmp_path, word):
    words = (*WORDS, at_least(1, 2), "loop.max_episodes=20")
    run = gym_loop.run(*words, directory=tmp_path / "run")
    assert len(run.episodes) == 4
    assert len(gym_loop.resume(run, word).episodes) > 4


@pytest.mark.slow
def test_a_repeated_sweep_skips_jobs_that_ended_early(tmp_path, capsys):
    words = (*WORDS, at_least(1), "loop.max_episodes=9", "seed=1,2", "hydra/launcher=basic")
    for _ in range(2):
        runs = gym_loop.sweep(*words, directory=tmp_path / "sweep")
    assert [(len(run.episodes), told(run)["launches"]) for run in runs] == [(2, 1), (2, 1)]


SOLVED = """
from gym_loop.observers import Observer

class Solved(Observer):
    '''Ends the run when 3 episodes have been played.'''
    def __init__(self, fails=False):
        self.fails = fails
    def end_episode(self, loop, episode):
        if episode.training and loop.episodes == 3:
            loop.finish("solved")
        if not episode.training and self.fails:
            raise RuntimeError("in the final evaluation")
"""


def test_an_observer_ends_the_run_for_good(tmp_path):
    (tmp_path / "solved.py").write_text(SOLVED)
    observer = f"+observers.solved._target_={tmp_path / 'solved.py'}:Solved"
    words = ("env=cartpole", "loop.max_episodes=9", "loop.eval_episodes=1", observer)
    run = gym_loop.run(*words, directory=tmp_path / "run")
    assert (run.state, len(run.episodes), told(run)["ended_by"]) == ("finished", 3, "solved")


def test_a_run_that_was_lost_in_its_final_evaluation_trains_no_further(tmp_path):
    (tmp_path / "solved.py").write_text(SOLVED)
    observer = f"+observers.solved._target_={tmp_path / 'solved.py'}:Solved"
    words = ("env=cartpole", "loop.max_episodes=9", "loop.eval_episodes=1", observer)
    with pytest.raises(RuntimeError):
        gym_loop.run(*words, "+observers.solved.fails=true", directory=tmp_path / "run")
    run = gym_loop.resume(tmp_path / "run", "observers.solved.fails=false")
    assert (run.state, len(run.episodes), told(run)["ended_by"]) == ("finished", 3, "solved")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{at_least: 1, evaluation: 2}", "stop_at has no 'evaluation'"),
        (
            "{metric: eval/retrun, at_least: 1}",
            r"'eval/retrun'.*; expected eval/return or eval/length, or eval/NAME",
        ),
        ("{metric: eval/return}", r"at_least is None.*; expected a number"),
        ("{at_least: 1, evaluations: 0}", r"evaluations is 0.*; expected an integer, 1 or more"),
        ("3", "expected a mapping"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(rule, message, tmp_path):
    with pytest.raises(Mistake, match=message):
        gym_loop.run(*WORDS, f"loop.stop_at={rule}", directory=tmp_path / "run")


def test_evaluations_may_be_counted_in_steps(tmp_path):
    words = ("env=cartpole", "loop.eval_episodes=2", "loop.steps_per_eval=40", at_least(1, 2))
    run = gym_loop.run(*words, "loop.max_episodes=50", directory=tmp_path / "run")
    assert (run.state, told(run)["ended_by"]) == ("finished", "stop_at")
    assert 80 <= run.episodes["steps"][-1] < 400


def test_a_rule_without_evaluations_in_training_is_refused(tmp_path):
    with pytest.raises(Mistake, match=r"give loop\.episodes_per_eval"):
        gym_loop.run("env=cartpole", at_least(1), directory=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["observers=none"], ["~observers.ending"]])
def test_a_rule_that_nobody_heeds_is_said_in_one_line(cli, words):
    run = [*WORDS, "loop.max_episodes=2", at_least(1), "hydra.run.dir=run"]
    done = cli("agent=random", *run, *words)
    assert done.returncode == 0
    [note] = [line for line in done.stderr.splitlines() if "stop_at" in line]
    assert note.startswith("gym-loop: note: loop.stop_at ends nothing (command line)")
    own = note.partition("add +")[2]
    heeded = cli("agent=random", *run, *words, f"+{own}", "hydra.run.dir=other")
    assert "note" not in heeded.stderr


@pytest.mark.slow
def test_an_evaluation_trains_nothing_that_could_end_early(cli):
    cli("agent=random", *WORDS, "loop.max_episodes=4", at_least(1), "hydra.run.dir=run")
    done = cli("evaluate", "run")
    assert (done.returncode, done.stderr) == (0, "")
