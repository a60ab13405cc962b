"""What a search varies: which overrides, which ends, and what is no space."""

import pytest

from gym_loop.mistake import Mistake

optuna = pytest.importorskip("optuna", reason="needs the extra search")

from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402

from gym_loop.search.space import Function, split, word  # noqa: E402
from gym_loop.search.sweeper import check_varied  # noqa: E402


def space_of(*words):
    return split(OverridesParser.create().parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("interval(0, 2)", 0.0, 2.0),
        ("tag(log, interval(1e-5, 1e-2))", 1e-5, 1e-2),
        ("tag(int, interval(1, 9))", 1, 9),
        ("tag(int, log, interval(1, 64))", 1, 64),
        ("range(1, 10, 3)", 1, 7),
        ("range(10)", 0, 9),
        ("range(0, 1, 0.25)", 0.0, 0.75),
    ],
)
def test_an_interval_has_the_ends_that_hydra_gives_it(text, low, high):
    _, space = space_of(f"agent.a={text}")
    distribution = space["agent.a"].distribution
    assert (distribution.low, distribution.high) == (low, high)
    assert type(distribution.low) is type(low)
    assert distribution.log == ("log" in text)
    probed = [words[0] for words in space.probes()]
    assert (probed[0], probed[-1]) == (f"agent.a={low}", f"agent.a={high}")
    # A parameter that takes whole numbers alone is found out before anything starts.
    assert len(probed) == (3 if type(low) is float and "interval" in text else 2)


def test_a_choice_keeps_types_and_every_choice_is_probed():
    fixed, space = space_of("agent.n=choice(32,64,128)", "agent.net=choice([8],[8,8])", "env=taxi")
    assert fixed == ["env=taxi"]
    assert space["agent.n"].distribution.choices == (32, 64, 128)
    assert space.probes() == [
        ["agent.n=32", "agent.net=[8]"],
        ["agent.n=64", "agent.net=[8,8]"],
        ["agent.n=128", "agent.net=[8,8]"],
    ]


def test_the_last_of_two_overrides_of_one_key_holds():
    assert space_of("agent.a=interval(0,1)", "agent.a=3") == (["agent.a=3"], {})
    fixed, space = space_of("agent.a=3", "+agent.a=1,2")
    assert fixed == []
    assert space.probes() == [["+agent.a=1"], ["+agent.a=2"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interval(5, 1)", "above the second"),
        ("interval(0, nan)", "finite ends"),
        ("tag(log, interval(0, 1))", "begins above 0"),
        ("tag(int, interval(0.5, 2))", "integers as ends"),
        ("tag(lag, interval(0, 1))", "no tag lag"),
        ("tag(log, range(1, 5))", "no tag log for a range"),
        ("range(5, 1)", "empty range"),
        ("range(5, 1, -1)", "a step|its step"),
        ("tag(log, choice(1, 2))", "tags are for"),
    ],
)
def test_what_is_no_distribution_is_a_mistake_that_names_it(text, said):
    with pytest.raises(Mistake, match=said) as mistake:
        space_of(f"agent.a={text}")
    assert mistake.value.message.startswith("agent.a=")


def test_a_point_to_try_first_lies_in_the_space():
    _, space = space_of("a.f=interval(0,1)", "a.n=range(0,9,3)", "a.c=choice(x,y)")
    point = {"a.f": 1, "a.n": 6, "a.c": "y"}
    assert space.check_enqueued(point) == {"a.f": 1.0, "a.n": 6, "a.c": "y"}
    for wrong in ({"a.f": 2}, {"a.n": 4}, {"a.c": "z"}, {"a.f": "much"}, {"a.g": 1}):
        with pytest.raises(Mistake, match=next(iter(wrong))):
            space.check_enqueued(wrong)


def test_values_are_written_in_hydras_grammar():
    values = {"a": [1, None, {"b": True}], "c": 1e-5, "d": "text"}
    words = [word(key, value) for key, value in values.items()]
    parsed = OverridesParser.create().parse_overrides(words)
    assert {o.key_or_group: o.value() for o in parsed} == values


def test_a_text_with_commas_within_a_list_or_a_mapping_stays_one():
    given = ["a b,c", {"k": "it's d,e"}, "[1,2]"]
    [parsed] = OverridesParser.create().parse_overrides([word("a", given)])
    assert parsed.value() == ["a b,c", {"k": "it's d,e"}, [1, 2]]


def test_a_space_in_python_has_conditions(tmp_path, monkeypatch):
    (tmp_path / "my_space.py").write_text(
        "def space(trial):\n"
        "    if trial.suggest_categorical('agent.kind', ['a', 'b']) == 'b':\n"
        "        trial.suggest_float('agent.x', 0, 1)\n"
        "def derived(trial):\n"
        "    return {'agent.net': [2 ** trial.suggest_int('width', 3, 4)] * 2}\n"
        "def wrong(trial):\n    return 3\n"
        "def nothing(trial):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study()
    study.enqueue_trial({"agent.kind": "a"})
    study.enqueue_trial({"agent.kind": "b", "agent.x": 0.5})
    study.enqueue_trial({"width": 4})
    conditional = Function("my_space.py:space")
    assert conditional.suggest(study.ask()) == ["agent.kind=a"]
    assert conditional.suggest(study.ask()) == ["agent.kind=b", "agent.x=0.5"]
    assert Function("my_space.py:derived").suggest(study.ask()) == ["agent.net=[16,16]"]
    for name in ("wrong", "nothing", "absent"):
        with pytest.raises(Mistake, match=name):
            Function(f"my_space.py:{name}").probes()


MISTAKEN = """
import numpy as np
def space(trial): return {"agent.x": np.int64(trial.suggest_int("doubled", 1, 3)) * 2}
def raises(trial):
    raise RuntimeError("too\\nhot")
def misspelt(trial): trial.suggest_flat("agent.x", 0, 1)
def lists(trial): return [1, 2]
def objects(trial): return {"agent.x": trial}
def numbers(trial): return {3: 1.0}
def nothing(trial): pass
def leaves(trial): raise SystemExit(0)
def reports(trial): trial.report(trial.suggest_float("agent.x", 0, 1), 0)
def pair(trial, more): pass
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("spaces.py:spce", "spaces.py has no 'spce'; did you mean 'space'?"),
        ("space.py:space", "no file space.py; did you mean 'spaces.py'?"),
        ("spaces.py", "names no function; expected my_space.py:space or package.module:space"),
        ("spaces", "names no function; expected my_space.py:space or package.module:space"),
        ("spaces.py:pair", "expected a function of one trial"),
        ("spaces.py:np", "expected a function of one trial"),
        ("spaces.py:raises", "RuntimeError: too hot (spaces.py:5)"),
        ("spaces.py:misspelt", "AttributeError: 'Trial' object has no attribute 'suggest_flat' ("),
        ("spaces.py:lists", "returned [1, 2]; expected a mapping of config keys to values"),
        ("spaces.py:objects", "for 'agent.x'; expected a config key, and a number"),
        ("spaces.py:numbers", "returned 1.0 for 3; expected a config key"),
        ("spaces.py:nothing", "suggests nothing"),
        ("spaces.py:leaves", "SystemExit: 0 (spaces.py:11)"),
        ("spaces.py:reports", "reports a value; expected it to suggest values alone"),
        (
            "broken.py:space",
            "cannot import broken.py: SyntaxError: '(' was never closed (broken.py",
        ),
        ("zero.py:space", "cannot import zero.py: ZeroDivisionError: division by zero (zero.py:1)"),
        ("absent_module:space", "cannot import absent_module: ModuleNotFoundError: No module"),
    ],
)
def test_what_is_wrong_with_a_space_in_python_is_said_in_one_line(
    tmp_path, monkeypatch, name, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spaces.py").write_text(MISTAKEN)
    (tmp_path / "broken.py").write_text("def space(")
    (tmp_path / "zero.py").write_text("1 / 0")
    with pytest.raises(Mistake) as mistake:
        Function(name).probes()
    assert mistake.value.message.startswith(f"hydra.sweeper.space={name}")
    assert said in mistake.value.message


def test_a_space_in_python_may_return_numbers_of_numpys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spaces.py").write_text(MISTAKEN)
    words = Function("spaces.py:space").probes()
    assert {word for [word] in words} <= {"agent.x=2", "agent.x=4", "agent.x=6"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(1, 8)", "agent.n=tag(int, interval(1, 8))"),
        ("tag(log, interval(1, 8))", "agent.n=tag(int, log, interval(1, 8))"),
        ("choice(1, 2.5)", None),
    ],
)
def test_an_interval_for_an_integer_is_explained_by_what_was_typed(text, expected):
    _, space = space_of(f"agent.n={text}", "agent.a=interval(1, 8)")
    said = "job agent.n=2.5,seed=0: agent.n is 2.5 (command line); expected an integer, like 8"
    explained = f"agent.n={text} has fractions; expected an integer: {expected}"
    assert space.explain(said) == (explained if expected else said)
    if expected:
        _, whole = space_of(expected)
        assert (whole["agent.n"].distribution.low, whole["agent.n"].distribution.high) == (1, 8)


WIDE = """
import functools
def space(trial): trial.suggest_float("agent.x", 0, 1)
def nothing(trial): pass
kept = functools.lru_cache(space)
"""


def test_the_digest_of_a_space_in_python_is_that_of_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("wide.py", "wide_module.py"):
        (tmp_path / name).write_text(WIDE)
    first = Function("wide.py:space").source
    assert first.startswith("wide.py with SHA-256 ")
    assert Function("wide.py:nothing").source == Function("wide.py:kept").source == first
    digest = first.partition(" with ")[2]
    assert Function("wide_module:space").source == f"wide_module.py with {digest}"
    (tmp_path / "wide.py").write_text(WIDE.replace("0, 1", "0, 2"))
    assert Function("wide.py:space").source != first
    assert space_of("agent.a=interval(0, 1)")[1].source == ""


def test_what_trials_have_to_share_is_no_parameter():
    check_varied(["agent.x", "env.gravity", "loop.max_steps"])
    for key in ("seed", "env", "env.id", "env._target_", "hydra.sweep.dir"):
        with pytest.raises(Mistake, match=f"^{key}= is no parameter of a search; "):
            check_varied(["agent.x", key])
