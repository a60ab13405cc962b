"""What jobs are called, and which sweep a directory holds."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_loop.mistake import Mistake
from gym_loop.sweeps import directory
from gym_loop.sweeps.directory import LONGEST, asked, job_name, merge


def test_a_job_is_named_by_what_varies_in_whatever_order():
    one = asked(["seed=range(8)", "env=pendulum,cartpole", "agent=random"], [])
    two = asked(["env=pendulum,cartpole", "agent=random", "seed=range(8)"], [])

    for sweep in (one, two):
        assert sweep.name(["seed=3", "env=pendulum", "agent=random"]) == "env=pendulum,seed=3"
        assert sweep.fixed == {"agent": "random"}


def test_a_job_of_a_sweep_without_variation_is_named_by_all_overrides():
    assert asked(["seed=1", "++env.kwargs.g=2"], []).name(["seed=1", "++env.kwargs.g=2"]) == (
        "env.kwargs.g=2,seed=1"
    )


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"agent": "path/to/my_agent.py:MyAgent"}, "agent=path%2Fto%2Fmy_agent.py:MyAgent"),
        ({"agent.layers": "[64,64]", "seed": "1"}, "agent.layers=[64,64],seed=1"),
        ({"a": "${seed}"}, "a=%24{seed}"),
        ({".": "."}, "%2E=."),
        ({}, "job"),
    ],
)
def test_a_name_is_one_that_a_file_can_have(overrides, name):
    assert job_name(overrides) == name


@pytest.mark.parametrize(
    "words",
    [
        {"agent.api_key": "sesame"},
        {"env.url": "https://me:sesame@host/x"},
        {"agent.login": "{user: me, password: sesame}"},
    ],
)
def test_no_folder_is_named_by_a_secret_and_other_secrets_make_other_jobs(words):
    others = {key: value.replace("sesame", "opened") for key, value in words.items()}
    one, two = (job_name({**each, "seed": "1"}) for each in (words, others))

    assert "sesame" not in one
    assert one.endswith(",seed=1")
    assert one != two
    assert job_name({"agent.token": "${oc.env:TOKEN}"}) == "agent.token=%24{oc.env:TOKEN}"


def test_a_job_of_an_earlier_version_that_is_named_by_a_secret_keeps_its_name():
    asks = ["agent.token=a,b"], []
    known = asked(*asks)
    known.jobs = {"agent.token=a": ["agent.token=a"]}

    assert known.name(["agent.token=a"]) == "agent.token=a"
    assert known.name(["agent.token=b"]).startswith("agent.token=(hidden ")


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1), st.data())
def test_names_differ_where_overrides_do(one, data):
    key = data.draw(st.sampled_from(sorted(one)))
    two = {**one, key: one[key] + data.draw(st.text(min_size=1))}

    for overrides in (one, two):
        name = job_name(overrides)
        assert "/" not in name
        assert "\0" not in name
        assert len(name.encode()) <= LONGEST
    # `=` and `,` in a value are not told from those between values; Hydra's grammar quotes them.
    if not any(
        mark in text for d in (one, two) for kv in d.items() for text in kv for mark in "=,"
    ):
        assert job_name(one) != job_name(two)


def test_other_fixed_overrides_are_refused_and_named(tmp_path):
    known = asked(["seed=range(4)", "agent=random", "loop.max_episodes=5"], [])

    for words, told in [
        (["seed=range(4)", "agent=random", "loop.max_episodes=6"], "loop.max_episodes=5 then"),
        (["seed=range(4)", "agent=random"], "none now"),
        (["seed=range(4)", "agent=random", "loop.max_episodes=5", "env=taxi"], "no env then"),
        (["seed=range(4)", "agent=a,b", "loop.max_episodes=5"], "agent was random"),
    ]:
        with pytest.raises(Mistake) as refusal:
            merge(known, asked(words, []), tmp_path)
        assert told in refusal.value.message


def test_a_single_value_of_what_varies_is_a_job_of_the_sweep(tmp_path):
    known = asked(["seed=range(4)", "agent=random"], [])

    merged = merge(known, asked(["agent=random", "seed=9"], []), tmp_path)

    assert merged.name(["agent=random", "seed=9"]) == "seed=9"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", json.dumps({"format": 99}), json.dumps({"format": 1, "jobs": {}})]
)
def test_an_unreadable_record_of_a_sweep_is_said_to_be_one(tmp_path, content):
    (tmp_path / directory.NAME).write_text(content)

    with pytest.raises(Mistake):
        directory.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"jobs": [1, 2]},
        {"jobs": {"seed=0": 3}},
        {"jobs": {"seed=0": [None]}},
        {"jobs": {"seed=\ud800": ["seed=\ud800"]}},
        {"fixed": []},
        {"fixed": {"agent": 3}},
        {"varied": 3},
        {"overrides": [3]},
        {"cwd": 3},
        {"more": 3},
    ],
)
def test_a_record_that_is_damaged_is_named(tmp_path, change):
    known = vars(asked(["seed=range(4)", "agent=random"], []))
    (tmp_path / directory.NAME).write_text(json.dumps(known | change))

    with pytest.raises(Mistake, match=r"cannot read .*sweep\.json"):
        directory.read(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "endless", "deep"])
def test_a_record_that_would_never_end_is_not_read(tmp_path, kind):
    path = tmp_path / directory.NAME
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 100_000)

    with pytest.raises(Mistake, match=r"cannot read .*sweep\.json"):
        directory.read(tmp_path)
