"""What of an environment comes back from its checkpoint, and what is named because it does not."""

import copyreg
import ctypes
import functools
import logging
import pickle
import weakref
from collections import defaultdict
from dataclasses import dataclass

import gym
import numpy as np
import pytest
from gym.utils import EzPickle

from gym_loop.agents import pickled
from gym_loop.observers.environments import restore, save


class Unit:
    """Comes back as new from its pickle."""

    def __init__(self):
        self.hits = 0

    def __reduce__(self):
        return type(self), ()

    def hit(self):
        self.hits += 1
        return self.hits


class Registered:
    """So does this, by what is registered for its class."""

    def __init__(self):
        self.hits = 0

    hit = Unit.hit


copyreg.pickle(Registered, lambda unit: (Registered, ()))


class Holder:
    def __init__(self, unit):
        self.unit = unit

    def hit(self):
        return self.unit.hit()


class Logged:
    """Counts, and holds what every environment like its own makes again."""

    def __init__(self):
        self.hits, self.log, self.doubled = 0, logging.getLogger("unit"), lambda hits: 2 * hits

    hit = Unit.hit


class LoggedElsewhere(Logged):
    """Another one."""


class Grid(list):
    """Counts how often somebody goes through it."""

    times = 0

    def __iter__(self):
        Grid.times += 1
        return super().__iter__()


def on_one_grid():
    """Return a hundred objects that refer to one grid, and each to one that comes back as new."""
    units, grid = [Holder(Unit()) for _ in range(100)], Grid(range(9))
    for unit in units:
        unit.grid = grid
    return units


class Stock(dict):
    def __reduce__(self):
        return Stock, ()


@dataclass(frozen=True)
class Cell:
    """Has the `__getstate__` that `dataclass(slots=True)` makes, which Python 3.10 has, too."""

    x: int
    __slots__ = ("x",)

    def __getstate__(self):
        return [self.x]

    def __setstate__(self, state):
        object.__setattr__(self, "x", *state)

    __getstate__.__module__ = __setstate__.__module__ = "dataclasses"


class Plain(gym.Env):
    """Keeps `held` as `HELD` makes it, and does with it in a reset and a step what that says."""

    def __init__(self, kind):
        self.kind, self.held, self.other = kind, HELD[kind][0](), None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        HELD[self.kind][1](self)
        return 0, {}

    def step(self, action):
        return 0, float(HELD[self.kind][2](self)), True, False, {}


class AsNew(Plain, EzPickle):
    def __init__(self, kind):
        Plain.__init__(self, kind)
        EzPickle.__init__(self, kind)


def same(env):
    pass


def again(kind):
    """Have each game begin with another container, of the same objects."""

    def reset(env):
        env.held = kind(env.held)

    return reset


def anew(env):
    """Have each game begin with other objects, which know what the former ones knew."""
    units = {Unit() for _ in env.held}
    for unit, former in zip(units, env.held, strict=True):
        unit.hits = former.hits
    env.held = units


def late(env):
    env.held = env.held or Unit()


def swapped(env):
    env.held, env.other = env.other or iter(x for x in range(9)), env.held


def counted(env):
    env.held[len(env.held)] = len(env.held)


def counted_in_another(env):
    env.held = defaultdict(lambda: 0, env.held)
    counted(env)


def hit(env):
    return sum(unit.hit() for unit in env.held)


def filled(env):
    env.held = frozenset([*(env.held or ()), Unit()])
    return hit(env)


def hit_values(env):
    return sum(unit.hit() for unit in env.held.values())


def hit_first(units):
    return next(iter(units)).hit()


def attributed():
    made = functools.partial(Unit)
    made.unit = Unit()
    return made


def hit_and_more():
    unit = Unit()
    return [unit, [unit.hit, [0]]]


def hit_and_count(env):
    hit, count = env.held[1]
    count[0] += 1
    return hit() + 10 * count[0]


def remembered(remember):
    """Have each game begin with another object, which what is held refers to weakly."""

    def reset(env):
        env.other = [*(env.other or ()), Holder(0)]
        remember(env.held, env.other[-1])

    return reset


def in_the_third_game(change):
    def reset(env):
        env.other = (env.other or 0) + 1
        if env.other == 3:
            change(env)

    return reset


def emptied(env):
    vars(env).pop("held", None)
    return 1


def shown(env):
    env.held = env.held or Logged()
    return 1


# By a name: what is held at first; what a reset does; what a step's reward is.
HELD = {
    "set": (lambda: {Unit(), Unit()}, same, hit),
    "another set": (lambda: {Unit(), Unit()}, again(set), hit),
    "set of others": (lambda: {Unit()}, anew, hit),
    "frozenset": (lambda: frozenset([Unit()]), again(frozenset), hit),
    "set in a list": (lambda: [{Unit()}], again(list), lambda env: hit_first(env.held[0])),
    "set within": (lambda: {Holder(Unit())}, again(set), lambda env: hit_first(env.held)),
    "keys": (lambda: {Unit(): 0}, again(dict), hit),
    "some keys": (lambda: {Unit(): 0, "a": 1}, again(dict), lambda env: hit_first(env.held)),
    "values of keys": (lambda: {Holder(0): Unit()}, again(dict), hit_values),
    "filled set": (set, same, lambda env: env.held.add(Unit()) or hit(env)),
    "filled frozenset": (frozenset, same, filled),
    "late set": (lambda: None, same, filled),
    "late": (lambda: None, late, lambda env: env.held.hit()),
    "swapped": (lambda: iter(x for x in range(9)), swapped, lambda env: next(env.held)),
    "stock": (Stock, counted, lambda env: len(env.held)),
    "method": (lambda: Unit().hit, same, lambda env: env.held()),
    "partial": (lambda: functools.partial(Unit.hit, Unit()), same, lambda env: env.held()),
    "attribute of a partial": (attributed, same, lambda env: env.held.unit.hit()),
    "registered": (Registered, same, lambda env: env.held.hit()),
    "cells": (set, lambda env: env.held.add(Cell(len(env.held))), lambda env: len(env.held)),
    "grid": (on_one_grid, same, lambda env: env.held[0].hit()),
    "method in a list": (hit_and_more, same, hit_and_count),
    "factory": (lambda: defaultdict(lambda: 0), counted_in_another, lambda env: len(env.held)),
    "logged": (Logged, same, lambda env: env.held.hit()),
    "logged in a list": (lambda: [Logged(), 0], same, lambda env: env.held[0].hit()),
    "shown": (lambda: None, same, shown),
    "weak keys": (
        weakref.WeakKeyDictionary,
        remembered(lambda held, each: held.setdefault(each, 0)),
        lambda env: len(env.held),
    ),
    "weak values": (
        weakref.WeakValueDictionary,
        remembered(lambda held, each: held.setdefault(len(held), each)),
        lambda env: len(env.held),
    ),
    "weak set": (weakref.WeakSet, remembered(weakref.WeakSet.add), lambda env: len(env.held)),
    "weak and empty": (weakref.WeakSet, same, lambda env: len(env.held)),
    "deleted": (
        lambda: 1,
        in_the_third_game(lambda env: delattr(env, "held")),
        lambda env: hasattr(env, "held"),
    ),
    "deleted and back": (lambda: 1, lambda env: setattr(env, "held", 1), emptied),
    "shortened": (
        lambda: [1, 2, Logged()],
        in_the_third_game(lambda env: env.held.pop(0)),
        lambda env: len(env.held),
    ),
    "of another class": (
        Logged,
        in_the_third_game(lambda env: setattr(env, "held", LoggedElsewhere())),
        lambda env: type(env.held) is Logged,
    ),
    "fixed": (
        lambda: functools.partial(lambda x: x, 1),
        in_the_third_game(lambda env: setattr(env, "held", functools.partial(lambda x: x, 2))),
        lambda env: env.held(),
    ),
}


def play(env, *seeds):
    rewards = []
    for seed in seeds:
        env.reset(seed=seed)
        rewards += [env.step(0)[1] for _ in range(2)]
    return rewards


@pytest.fixture(params=[Plain, AsNew])
def base(request):
    return request.param


def resumed(base, kind):
    """Return an environment after three games: that of a single run, and that of its checkpoint."""
    env = base(kind)
    play(env, 0, 1, 2)
    saved = pickle.dumps(save(env, by_value=True))
    return env, restore(pickle.loads(saved), "training")


@pytest.mark.parametrize(
    "kind",
    [
        *("set", "another set", "set of others", "frozenset", "set in a list", "set within"),
        *("filled set", "filled frozenset", "late set", "keys", "some keys", "values of keys"),
    ],
)
def test_what_a_set_or_a_dict_with_objects_as_keys_loses_is_named(base, kind, caplog):
    whole, part = resumed(base, kind)
    assert play(part, 3, 4) != play(whole, 3, 4)
    (line,) = [line for line in caplog.messages if "no checkpoint can keep its held" in line]
    assert ("dict" if "keys" in kind else "set") in line


def test_what_belongs_to_an_object_that_a_new_environment_has_not_is_named(caplog):
    whole, part = resumed(AsNew, "late")
    assert play(part, 3, 4) != play(whole, 3, 4)
    assert ["no checkpoint can keep its hits (int)" in line for line in caplog.messages] == [True]


def test_what_nothing_keeps_is_named_where_it_goes_from_one_attribute_to_another(caplog):
    whole, part = resumed(AsNew, "swapped")
    assert play(part, 3, 4) != play(whole, 3, 4)
    assert ["held (generator)" in line for line in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("weak keys", "no checkpoint can keep its held (WeakKeyDictionary)."),
        ("weak values", "no checkpoint can keep its held (WeakValueDictionary)."),
        ("weak set", "no checkpoint can keep its held (WeakSet)."),
        ("deleted", "has held, which was not there when it was saved"),
        ("shortened", "has held[2], which was not there when it was saved"),
        ("of another class", "has held, which was not there when it was saved"),
        ("fixed", "no checkpoint can keep its args (tuple)."),
    ],
)
def test_what_a_new_environment_cannot_be_made_like_is_named(kind, named, caplog):
    whole, part = resumed(AsNew, kind)
    assert play(part, 3, 4) != play(whole, 3, 4)
    [line] = [line for line in caplog.messages if "what was put back is" not in line]
    assert named in line


@pytest.mark.parametrize("kind", ["weak and empty", "deleted and back", "shown"])
def test_what_each_game_or_picture_makes_again_is_not_named(kind, caplog):
    whole, part = resumed(AsNew, kind)
    assert play(part, 3, 4) == play(whole, 3, 4)
    assert caplog.messages == []


def test_of_a_dict_all_is_put_back_where_some_of_it_is(base):
    whole, part = resumed(base, "stock")
    assert play(part, 3, 4) == play(whole, 3, 4)


@pytest.mark.parametrize(
    "kind",
    [
        *("method", "method in a list", "partial", "attribute of a partial", "registered"),
        *("cells", "factory", "grid", "logged", "logged in a list"),
    ],
)
def test_objects_of_methods_and_of_registered_and_generated_pickles_go_on(base, kind):
    whole, part = resumed(base, kind)
    assert play(part, 3, 4) == play(whole, 3, 4)


def test_a_set_of_whole_objects_is_not_warned_of(caplog):
    resumed(Plain, "cells")
    assert caplog.messages == []


def test_what_many_objects_of_an_environment_refer_to_is_looked_at_a_few_times(base):
    env, Grid.times = base("grid"), 0
    save(env)
    assert 0 < Grid.times < 10


class Derived(AsNew):
    """Takes other arguments than its base, which `EzPickle` has pickled."""

    def __init__(self, **given):
        super().__init__(given.pop("kind", "late"))
        self.games, self.past, self.ended = 0, [], given

    def reset(self, *, seed=None, options=None):
        self.games += 1
        self.past.append(self.games)
        return super().reset(seed=seed)

    def step(self, action):
        return 0, float(self.games + len(self.past)), True, False, {}


def test_what_a_class_keeps_goes_on_where_its_pickle_has_the_arguments_of_its_base(caplog):
    env = Derived()
    play(env, 0, 1, 2)
    saved = pickle.loads(pickle.dumps(save(env)))
    back = restore(saved, "training", Derived)
    assert "takes 1 positional argument" in caplog.text
    assert "what was put back is" in caplog.text
    assert all(name in caplog.text for name in ("games", "past"))
    assert play(back, 3, 4) == play(env, 3, 4)
    assert restore(saved, "training") is None


class Won(AsNew):
    """Goes up a level where the game before was won, which a reset reads and then forgets."""

    def __init__(self):
        super().__init__("set")
        EzPickle.__init__(self)
        self.level, self.won = 0, False

    def reset(self, *, seed=None, options=None):
        self.level += self.won
        self.won = False
        return super().reset(seed=seed)

    def step(self, action):
        self.won = True
        return 0, float(self.level), True, False, {}


@pytest.mark.parametrize("mode", [None, "human"])
def test_what_a_reset_reads_and_overwrites_is_put_back(mode, monkeypatch):
    monkeypatch.setattr(Won, "render_mode", mode)
    env = Won()
    play(env, 0)
    back = restore(pickle.loads(pickle.dumps(save(env))), "training")
    assert play(back, 1, 2) == play(env, 1, 2)


class Shown(AsNew):
    """Shows the memory of a library in C, which a reset sets."""

    def __init__(self):
        super().__init__("set")
        EzPickle.__init__(self)
        self.state = (ctypes.c_double * 2)()
        self.shown, self.games = np.ctypeslib.as_array(self.state), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.games += 1
        self.state[0] = seed
        return 0, {}

    def step(self, action):
        self.state[0] += 1
        return 0, float(self.shown[0]) + self.games, True, False, {}


class Halves(Plain):
    """Keeps an array, and a part of it as another attribute."""

    def __init__(self):
        super().__init__("set")
        self.whole = np.zeros(4)
        self.half = self.whole[:2]

    def step(self, action):
        self.whole += 1
        return 0, float(self.half.sum()), True, False, {}


class HalvesAsNew(Halves, EzPickle):
    def __init__(self):
        Halves.__init__(self)
        EzPickle.__init__(self)


@pytest.mark.parametrize("kind", [Shown, Halves, HalvesAsNew])
def test_an_array_shows_what_it_has_shown(kind):
    env = kind()
    play(env, 0, 1)
    back = restore(pickle.loads(pickled.dumps(save(env))), "training")
    assert play(back, 2, 3) == play(env, 2, 3)


class Forgetful(gym.Env):
    """Its pickle lacks an attribute, which it has last when it comes back."""

    def __init__(self):
        self.games, self.lives = 0, 3

    def reset(self, *, seed=None, options=None):
        self.games += 1
        return 0, {}

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "games"}

    def __setstate__(self, state):
        self.__dict__ |= state
        self.games = 0


def test_an_environment_that_has_come_back_is_saved_as_it_was_before():
    env = Forgetful()
    env.reset()
    saved = save(env)
    back = restore(saved, "training")
    assert back.games == 1
    for part in (1, 3):
        assert [*save(back)[part].items()] == [*saved[part].items()]


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_what_games_change_in_a_model_of_mujocos_is_named(factor, caplog, monkeypatch):
    pytest.importorskip("mujoco", reason='needs: pip install "gym-loop[mujoco]"')
    from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

    class Pendulum(InvertedPendulumEnv):
        """Its pole grows heavier, or lighter, from game to game."""

        def reset(self, *, seed=None, options=None):
            self.model.body_mass[-1] *= factor
            return super().reset(seed=seed, options=options)

    monkeypatch.setitem(globals(), "Pendulum", Pendulum)
    Pendulum.__qualname__ = "Pendulum"  # where pickle finds it
    env = Pendulum()
    for seed in range(3):
        env.reset(seed=seed)
        env.step(env.action_space.sample())
    restore(pickle.loads(pickle.dumps(save(env))), "training")
    named = ["no checkpoint can keep its model (MjModel)" in line for line in caplog.messages]
    assert named.count(True) == (factor != 1)
