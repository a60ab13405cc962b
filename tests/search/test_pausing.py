"""A job of a search pauses after an evaluation, and goes on as if it had not."""

import json

import pytest

from gym_loop.runs import compare
from gym_loop.search import pausing
from tests.conftest import rows

PAUSE = "+observers.pause._target_=gym_loop.search.pausing.Pause"
ARS = ["agent=ars", "agent.directions=2", "agent.top_directions=1", "env=cartpole"]
SHORT = ["loop.max_episodes=9", "loop.episodes_per_eval=2", "loop.eval_episodes=2", PAUSE]


def ended(run):
    known = json.loads((run / "run.json").read_text())
    return known["state"], known["ended_by"], known["episodes"]


@pytest.mark.slow
def test_a_run_pauses_at_evaluations_and_ends_as_one_that_never_did(launch, monkeypatch):
    never = launch(*ARS, *SHORT, directory="never")
    for limit, played in (("1", 2), ("1", 2), ("3", 6), ("4", 8)):
        monkeypatch.setenv(pausing.VARIABLE, limit)
        run = launch(*ARS, *SHORT, directory="paused")
        assert ended(run) == ("stopped", "paused", played)
        assert len(rows(run)) == played
    monkeypatch.delenv(pausing.VARIABLE)

    launch(*ARS, *SHORT, directory="paused")

    assert ended(run) == ended(never) == ("finished", "max_episodes", 9)
    assert list(compare.differences(never, run)) == []


def test_a_run_that_ends_before_the_evaluation_has_finished(launch, monkeypatch):
    monkeypatch.setenv(pausing.VARIABLE, "7")
    assert ended(launch(*ARS, *SHORT)) == ("finished", "max_episodes", 9)


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["sb3/ppo", "sb3/dqn"])
def test_agents_of_stable_baselines3_go_on_exactly(alone, monkeypatch, agent):
    pytest.importorskip("stable_baselines3", reason="needs the extra sb3")
    words = [f"agent={agent}", "env=cartpole", "loop.max_episodes=40", "loop.episodes_per_eval=8"]
    words += ["loop.eval_episodes=2", PAUSE]
    words += (
        ["agent.n_steps=64"]
        if agent.endswith("ppo")
        else ["agent.learning_starts=50", "loop.max_steps=5000"]
    )
    never = alone(*words, directory="never")
    for limit in ("1", "3"):
        monkeypatch.setenv(pausing.VARIABLE, limit)
        run = alone(*words, directory="paused")
        assert ended(run) == ("stopped", "paused", 8 * int(limit))
    monkeypatch.delenv(pausing.VARIABLE)
    alone(*words, directory="paused")
    assert ended(run)[0] == "finished"
    assert list(compare.differences(never, run)) == []
