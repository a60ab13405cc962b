"""Every benchmark can be loaded: `python -m benchmarks` runs them all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_benchmark_loads():
    names = [path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")]
    code = f"import importlib\nfor name in {names}: importlib.import_module(f'benchmarks.{{name}}')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
