"""Every benchmark can be loaded, and its figures quoted."""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks import __main__ as benchmarks
from benchmarks.harness import Row

ROOT = Path(__file__).parents[1]


def test_every_benchmark_loads():
    names = [path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")]
    code = f"import importlib\nfor name in {names}: importlib.import_module(f'benchmarks.{{name}}')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_measured_again_is_quoted_beside_the_first_figures_of_its_script_alone(
    tmp_path, monkeypatch
):
    page = tmp_path / "benchmarks.md"
    page.write_text(
        "# A\n<!-- loop -->\nold\n<!-- /loop -->\nB\n<!-- sb3 -->\nkept\n<!-- /sb3 -->\n"
    )
    monkeypatch.setattr(benchmarks, "PAGE", page)
    monkeypatch.setattr(benchmarks.harness, "machine", lambda: "today")
    rows = [Row("play", "bare", "", figure) for figure in ("0.83 (0.82 to 0.83)", "0.84")]

    benchmarks.quote("loop", rows[:1], again=False)
    benchmarks.quote("loop", rows[1:], again=True)

    before, _, rest = page.read_text().partition("<!-- loop -->\n")
    table, _, after = rest.partition("<!-- /loop -->\n")
    assert before == "# A\n"
    assert after == "B\n<!-- sb3 -->\nkept\n<!-- /sb3 -->\n"
    when, _, head, line, row = table.splitlines()
    assert when == "today; again today"
    assert head.endswith("| both | again |")
    assert line == "|---" * 7 + "|"
    assert row == "| play | bare |  | 0.83 (0.82 to 0.83) |  |  | 0.84 |"


def test_each_table_of_the_page_belongs_to_a_script():
    names = re.findall(r"^<!-- (\w+) -->$", benchmarks.PAGE.read_text(), re.MULTILINE)
    assert names
    for name in names:
        assert "def rows(" in (ROOT / "benchmarks" / f"{name}.py").read_text()
        assert f"\n<!-- /{name} -->\n" in benchmarks.PAGE.read_text()
