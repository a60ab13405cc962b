"""What is done to a run's objects once they have been pickled."""

from types import SimpleNamespace

from gym_loop.observers.restoring import quicken_all

NAMES = "gravity", "mass"  # interned, as all names in code are


def test_attributes_of_each_part_of_a_vector_have_interned_names():
    parts = [SimpleNamespace(env=SimpleNamespace()) for _ in range(2)]
    layers = [*parts, *(part.env for part in parts)]
    for layer in layers:
        vars(layer).update({"".join(list(name)): 1.0 for name in NAMES})
    quicken_all(SimpleNamespace(envs=parts))
    for layer in layers:
        own = [key for key in vars(layer) if key in NAMES]
        assert all(key is name for key, name in zip(own, NAMES, strict=True))
