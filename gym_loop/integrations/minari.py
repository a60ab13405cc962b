"""Recorded episodes as a dataset of Minari's."""

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gym_loop import files
from gym_loop.agents.spaces import to_gymnasium
from gym_loop.machine import variables_set
from gym_loop.mistake import Failure, Mistake, text_of
from gym_loop.runs.dataset import Part, Recording, class_of, part_name, simple_parts
from gym_loop.vector.batches import parts_of

# The spaces without parts that Minari can store.
HELD = {"Box", "Discrete", "MultiDiscrete", "MultiBinary", "Text"}


def check() -> None:
    """Raise Mistake where Minari, or what it stores with, is not installed."""
    try:
        import h5py  # noqa: F401
        import minari  # noqa: F401
    except ImportError as error:
        install = 'pip install "gym-loop[minari]"'
        raise Mistake(f"a Minari dataset needs {error.name}: {install}") from None


def write(
    target: Path, recordings: Iterable[Recording], env: Any, agent: str
) -> tuple[int, list[str], str]:
    """Write the recordings as a dataset.

    Returns the count of steps, a name for what could not be written, and how to read the dataset.
    Below Minari's own folder of datasets it has an id, by which `minari.load_dataset` finds it.

    Raises:
        Mistake: a name that Minari does not take, or spaces of which it can hold nothing.
        Failure: values that are no elements of their space.
    """
    import gymnasium
    import minari
    from gymnasium import spaces
    from minari import namespace
    from minari.data_collector import EpisodeBuffer

    default = Path.home() / ".minari" / "datasets"
    root = Path(os.environ.get("MINARI_DATASETS_PATH", default)).absolute()
    whole = target.absolute()
    name = dataset_id(whole, root)
    left_out: list[str] = []
    observed = held_parts("observation", env.observation_space, left_out)
    acted = held_parts("action", env.action_space, left_out)
    temporary = files.new_folder(whole)
    buffers = (
        EpisodeBuffer(
            seed=recording.seed,
            observations=nested(checked("observation", recording.observations, observed)),
            actions=nested(checked("action", recording.actions, acted)),
            rewards=recording.rewards,
            terminations=recording.terminations,
            truncations=recording.truncations,
        )
        for recording in recordings
    )
    try:
        with variables_set({"MINARI_DATASETS_PATH": str(temporary)}), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no author, and the like
            dataset = minari.create_dataset_from_buffers(
                name,
                buffers,
                env if isinstance(env, gymnasium.Env) and env.spec else None,
                observation_space=nested(observed, spaces.Dict, spaces.Tuple),
                action_space=nested(acted, spaces.Dict, spaces.Tuple),
                algorithm_name=agent,
                description="Episodes of a run of gym-loop, played again from their traces.",
                jpeg_encoding=False,  # it loses something
            )
        (temporary / name).rename(whole)
    except OSError as error:
        raise Failure(files.cannot_write(error, whole.parent)) from error
    except (AssertionError, LookupError, TypeError, ValueError) as error:  # Minari's own
        raise Failure(
            f"nothing written: Minari cannot write the episodes: {text_of(error)}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if not whole.is_relative_to(root):
        how = f"minari.MinariDataset({str(target / 'data')!r})"
        return int(dataset.total_steps), left_out, how
    space, _, _ = name.rpartition("/")
    if space and space not in namespace.list_local_namespaces():
        namespace.create_namespace(space)
    return int(dataset.total_steps), left_out, f"minari.load_dataset({name!r})"


def dataset_id(whole: Path, root: Path) -> str:
    """Return the id of the dataset at the absolute path `whole`.

    Raises:
        Mistake: it lies below Minari's folder `root` under a name that Minari does not read.
    """
    if not whole.is_relative_to(root):
        return re.sub(r"[^-\w]|-v\d+$", "", whole.name) + "-v0"
    name = str(whole.relative_to(root))
    if not re.fullmatch(r"([-\w][-\w/]*[-\w]/)?[-\w]+-v\d+", name):  # as Minari reads them
        example = "cartpole/mine" if re.search(r"-v\d+$", name) else name
        raise Mistake(f"{name} cannot be the id of a dataset; expected such as {example}-v0")
    return name


def held_parts(what: str, space: Any, left_out: list[str]) -> dict[Part, Any]:
    """Return the parts of a space that Minari can store, as Gymnasium's spaces.

    Args:
        what: is of that space; the names of its parts begin with it.
        space: of gym's or Gymnasium's.
        left_out: gets a line for each other part.

    Raises:
        Mistake: there is none.
    """
    found: dict[Part, Any] = {}
    for part, leaf in simple_parts(space):
        if not fits_hdf5(space, part):
            left_out.append(f"{part_name(what, part)} (a key that HDF5 does not take)")
        elif HELD & {each.__name__ for each in type(leaf).__mro__}:
            found[part] = to_gymnasium(leaf)
        else:
            left_out.append(f"{part_name(what, part)} (a {class_of(leaf)} space)")
    if not found:
        raise Mistake(
            f"a Minari dataset cannot hold {what}s of a {class_of(space)} space; export to .npz"
        )
    return found


def fits_hdf5(space: Any, part: Part) -> bool:
    """Return whether the keys of the Dicts that a part lies in can be names in HDF5."""
    for key in part:
        parts: Any = parts_of(space)
        is_name = isinstance(key, str) and key.strip(".") and "/" not in key
        if isinstance(parts, Mapping) and not is_name:
            return False
        space = parts[key]
    return True


def checked(what: str, arrays: dict[Part, Any], held: dict[Part, Any]) -> dict[Part, Any]:
    """Return those arrays that are held, as Minari takes them.

    Raises:
        Failure: one fits into no array.
    """
    for part, space in held.items():
        if arrays[part] is None:
            raise Failure(f"{part_name(what, part)}: values that are no elements of {space}")
    own = {part: arrays[part] for part in held}
    return {part: a.tolist() if a.dtype.kind == "U" else a for part, a in own.items()}


def nested(
    leaves: dict[Part, Any],
    as_dict: Callable[[dict[Any, Any]], Any] = dict,
    as_tuple: Callable[[Iterable[Any]], Any] = tuple,
) -> Any:
    """Return leaves by their parts in dicts, and tuples where these are positions."""
    if () in leaves:
        return leaves[()]
    inner: dict[Any, dict[Part, Any]] = {}
    for (key, *rest), leaf in leaves.items():
        inner.setdefault(key, {})[tuple(rest)] = leaf
    each = {key: nested(own, as_dict, as_tuple) for key, own in inner.items()}
    return as_dict(each) if isinstance(next(iter(each)), str) else as_tuple(each.values())
