"""Every command and every block of code in README.md and docs/ is run, one page in one folder.

A page is a session: its blocks run in order, in a folder that is empty at first.

    ```python title="my_agent.py"    is written to that file; so is YAML
    ```python                        is run
    ```bash                          each command has to succeed
    ```console                       each `$ command`, and what it prints: `...` stands for anything
    ```text                          is shown only

`<!-- needs: MODULE, ... -->` leaves out the blocks up to the next heading where a module is
missing. `<!-- not run: REASON -->` leaves out the block that follows it. What installs is not run;
its extras are looked up in pyproject.toml. `GYM_LOOP_BIN` names the folder of the programs to run.
"""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PART = re.compile(
    r"^<!-- (?P<word>needs|not run): (?P<said>.+?) -->$"
    r"|^(?P<heading>#+ [^\n]*)$"
    r"|^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
BIN = Path(os.environ.get("GYM_LOOP_BIN") or sysconfig.get_path("scripts"))
INSTALLS = re.compile(r"(git clone|pip install|apt|uv) ")
TELLS = re.compile(r"python|bash|console|yaml|text|json|toml")
MOST_LEFT_OUT = 8


def parts(page):
    """Return what PART matches in a page, as a list of dicts."""
    return [each.groupdict() for each in PART.finditer(page.read_text())]


def commands(code):
    """Return the commands of a block of bash, one for each line that does not go on."""
    lines = code.replace("\\\n", " ").splitlines()
    lines = [line.removeprefix("pip install -e . && ") for line in lines]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def shell(command, folder):
    """Run a command as in a shell of its own; return its exit code and what it printed."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def matches(shown, printed):
    """Say whether `printed` is what a page shows: `...` stands for anything, blanks for blanks."""
    pattern = re.escape(" ".join(shown.split())).replace(r"\.\.\.", ".*?")
    return re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL) is not None


def run_bash(code, folder):
    for command in commands(code):
        if not INSTALLS.match(command):
            status, printed = shell(command, folder)
            assert status == 0, f"$ {command}\n{printed}"


def run_console(code, folder):
    for each in re.split(r"^\$ ", code.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, shown = each.partition("\n")
        _, printed = shell(command, folder)
        assert matches(shown, printed), f"$ {command}\n{printed}\nis shown as\n{shown}"


def run_python(code, folder):
    (folder / "example.py").write_text(code)
    status, printed = shell("python example.py", folder)
    assert status == 0, f"{code}\n{printed}"


RUN = {"bash": run_bash, "console": run_console, "python": run_python}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_works(page, tmp_path):
    missing, left_out, skip_next = [], [], False
    for part in parts(page):
        if part["heading"]:
            missing = []
        elif part["word"] == "needs":
            modules = part["said"].split(", ")
            missing = [name for name in modules if shell(f"python -c 'import {name}'", tmp_path)[0]]
            left_out += missing
        elif part["word"]:
            skip_next = True
        elif skip_next or missing:
            skip_next = False
        elif part["title"]:
            file = tmp_path / part["title"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(part["code"])
        elif run := RUN.get(part["language"]):
            run(re.sub(rf"^{part['indent']}", "", part["code"], flags=re.MULTILINE), tmp_path)
    if left_out:
        pytest.skip(f"all but what needs: {', '.join(sorted(set(left_out)))}")


def test_the_readme_is_short_and_begins_with_what_ci_installs_and_runs():
    readme = (ROOT / "README.md").read_text()
    clone, first = re.search(r"```bash\n(.*?)\n```", readme, re.DOTALL)[1].splitlines()
    assert clone.startswith("git clone ")
    assert first in (ROOT / ".ci" / "run").read_text()
    assert readme.index(first) < 300
    assert len(readme.splitlines()) <= 200


@pytest.mark.slow
def test_the_first_run_leaves_the_tree_that_is_shown(tmp_path):
    page = (ROOT / "docs" / "index.md").read_text()
    status, printed = shell("gym-loop hydra.run.dir=first", tmp_path)
    assert status == 0, printed
    tree = re.search(r"```text\n(first/.*?)```", page, re.DOTALL)[1]
    named = re.findall(r"^[├└]── (\S+)(?: {1,2}(\S+/))?", tree, re.MULTILINE)
    assert len(named) == 10
    for name in filter(None, (name for line in named for name in line)):
        assert (tmp_path / "first" / name).exists(), name


def test_each_block_says_what_it_is():
    for page in PAGES:
        fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
        for opening in fences[::2]:
            assert TELLS.match(opening), (page.name, opening)
        assert len(fences) == 2 * sum(bool(part["language"]) for part in parts(page)), page.name


def test_few_blocks_are_not_run_and_each_says_why():
    reasons = [p["said"] for page in PAGES for p in parts(page) if p["word"] == "not run"]
    assert len(reasons) <= MOST_LEFT_OUT, reasons
    assert all(len(reason.split()) > 2 for reason in reasons)


def test_each_extra_that_is_named_can_be_installed():
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n\n")[0]
    known = set(re.findall(r"^(\w+) = ", extras, re.MULTILINE))
    for page in PAGES:
        for words in re.findall(r"(?:gym-loop|\.)\[([\w,]+)\]", page.read_text()):
            assert set(words.split(",")) <= known, (page.name, words)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("run: ...\n", "run: outputs/1\n", True),
        ("a ... c", "a b\n  c", True),
        ("mean 500", "mean 501", False),
        ("mean 500", "mean 500 (last 100)", False),
    ],
)
def test_what_is_shown_is_what_is_printed_but_for_what_is_left_out(shown, printed, same):
    assert matches(shown, printed) is same
