import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules["{missing}"] = None  # importing it raises ImportError, as if it were not installed
sys.argv = ["gym-loop", "agent=sb3/ppo", "hydra.run.dir={directory}"]
from gym_loop.__main__ import main
main()
"""


@pytest.mark.parametrize("missing", ["stable_baselines3", "torch"])
def test_a_missing_library_names_the_extra_and_exits_with_2(missing, tmp_path):
    code = WITHOUT.format(missing=missing, directory=tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "gym-loop[sb3]"' in done.stderr
