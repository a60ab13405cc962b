"""The packages that are installed for this process, and the machine that it runs on."""

import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gym_loop.machine import THREADS, cores
from gym_loop.streams import imported_torch

CPUINFO, NVIDIA = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia")
# What tells numerical libraries how to compute, and Python how to hash.
VARIABLES = (
    *(*THREADS, "OPENBLAS_CORETYPE", "MKL_CBWR", "PYTHONHASHSEED"),
    *("CUBLAS_WORKSPACE_CONFIG", "XLA_FLAGS", "NPY_DISABLE_CPU_FEATURES"),
)


def describe() -> dict[str, Any]:
    """Return all that is known of this process's packages and machine, as JSON holds it."""
    packages, sources = installed()
    return {
        "python": sys.version.split()[0],
        "system": f"{os.uname().sysname} {os.uname().machine}",
        **cpu(),
        "cores": cores(),
        "blas": blas(),
        "cuda": cuda(),
        "threads": threads(),
        "packages": packages,
        "sources": sources,
    }


def folders() -> list[str]:
    """Return the folders of `sys.path` that packages may be installed in."""
    return [folder for folder in dict.fromkeys(sys.path) if folder and os.path.isdir(folder)]


def installed() -> tuple[dict[str, str], dict[str, str]]:
    """Return each package's version, and the source of those that came from no package index.

    A source is what pip installs it from: `git+https://...@COMMIT`, `file:///...`; those that are
    installed to be edited have `editable` before it. The versions are read from the names of
    folders, a tenth of the time that `importlib.metadata` takes.
    """
    packages: dict[str, str] = {}
    sources: dict[str, str] = {}
    for folder in folders():
        for entry in sorted(os.listdir(folder)):
            stem, suffix = os.path.splitext(entry)
            if suffix not in (".dist-info", ".egg-info"):
                continue
            name, _, version = stem.partition("-")
            name = re.sub(r"[-_.]+", "-", name).lower()
            if name not in packages:
                packages[name] = version.partition("-py")[0] or _version(name)
                if source := _source(Path(folder) / entry / "direct_url.json"):
                    sources[name] = source
    return dict(sorted(packages.items())), sources


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _source(file: Path) -> str | None:
    try:
        known = json.loads(file.read_text())
        url = re.sub(r"(?<=://)[^/@\s]+@", "", str(known["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if vcs := known.get("vcs_info"):
        return f"{vcs.get('vcs')}+{url}@{vcs.get('commit_id')}"
    editable = (known.get("dir_info") or {}).get("editable")
    return f"{'editable ' if editable else ''}{url}"


def cpu() -> dict[str, Any]:
    """Return the processor's name, and its features: the kernel's list, else what NumPy found."""
    try:
        with open(CPUINFO) as file:
            lines = (line.partition(":") for line in file.read(16384).splitlines())
            # The first of each; the cores are alike.
            known = {key.strip(): value.strip() for key, _, value in reversed([*lines])}
    except OSError:
        known = {}
    found: Any = np.show_config(mode="dicts")  # type: ignore[call-arg,func-returns-value,unused-ignore]
    features = known.get("flags") or known.get("Features") or ""
    return {
        "cpu": known.get("model name") or os.uname().machine,
        "cpu_features": sorted(features.split()) or _simd(found),
    }


def _simd(found: Any) -> list[str]:
    known = found.get("SIMD Extensions") or {}
    return sorted([*(known.get("baseline") or ()), *(known.get("found") or ())])


def blas() -> dict[str, str]:
    """Return NumPy's and, where it is imported, torch's library of linear algebra."""
    found: Any = np.show_config(mode="dicts")  # type: ignore[call-arg,func-returns-value,unused-ignore]
    known = (found.get("Build Dependencies") or {}).get("blas") or {}
    libraries = {"numpy": f"{known.get('name')} {known.get('version')}"}
    if torch := imported_torch():
        libraries["torch"] = str(re.findall(r"BLAS_INFO=(\w+)", torch.__config__.show())[:1])
    return libraries


def cuda() -> dict[str, Any]:
    """Return CUDA's version, the driver and the devices. Nothing is initialised."""
    found: dict[str, Any] = {}
    torch = imported_torch()
    if torch and getattr(torch.version, "cuda", None):
        found["torch"] = torch.version.cuda
    try:
        found["driver"] = (NVIDIA / "version").read_text().splitlines()[0]
        devices = sorted(NVIDIA.glob("gpus/*/information"))
        models = (re.search(r"Model:\s*(.+)", file.read_text()) for file in devices)
        found["devices"] = [model[1] for model in models if model]
    except (OSError, IndexError):
        pass  # there is no driver
    return found


def threads() -> dict[str, Any]:
    """Return how many threads linear algebra was told to use, and what else changes results."""
    found: dict[str, Any] = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if torch := imported_torch():
        found["torch"] = torch.get_num_threads()
    return found
