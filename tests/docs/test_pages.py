"""Every command and every block of code in README and docs/ is run as it is written.

The blocks of a page are run in their order, in one folder that is empty at first:

- a block of Python or YAML with a title is written to the file of that name;
- Python without a title is run;
- the commands of a bash block are run, and each has to exit with 0;
- a console block holds commands behind `$ `, and what each prints: `...` stands for anything, a
  number for any number. Its commands may fail.

The comment `<!-- not run: REASON -->` before a block leaves it out. `<!-- needs: MODULE -->` names
modules without which a page is skipped.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, needs

INSTALLS = re.compile(r"^(pip|git clone|cd|tensorboard|ssh|export|optuna-dashboard) ?")
NUMBER = r"-?\d[\d,]*(\.\d+)?"


@pytest.fixture
def shell(tmp_path):
    """Run a script of commands in the page's folder, with this environment's `gym-loop`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (("gym-loop", "-m gym_loop"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (programs / name).chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    paths = str(ROOT), os.environ.get("PYTHONPATH", "")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "SDL_VIDEODRIVER"},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "COLUMNS": "80",
        "HOME": str(tmp_path),
        "MPLBACKEND": "agg",
    }

    def run(script):
        return subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    run.folder = folder
    return run


def commands(text):
    """The commands of a bash block, without those that install or serve; lines may go on."""
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    return [line for line in lines if line and line[0] != "#" and not INSTALLS.match(line)]


def sessions(text):
    """The commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


def pattern(printed):
    """A pattern of what is shown: any number for a number, anything for three dots."""
    escaped = re.escape(re.sub(r"\s+", " ", printed.strip()))
    escaped = escaped.replace(r"\.\.\.", ".*").replace(r"\ ", r"\s*")
    return re.compile(
        re.sub(r"(\\-)?\d(?:,?\d)*(?:\\\.\d+)?", lambda _: NUMBER, escaped), re.DOTALL
    )


def check_page(page, shell):
    for module in needs(page):
        if find_spec(module) is None:
            pytest.skip(f"{page.name} needs {module}, which an extra brings")
    for block in blocks(page):
        if not block.is_run:
            continue
        if block.title:
            file = shell.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.language == "python":
            (shell.folder / "block.py").write_text(block.text)
            done = shell("python block.py")
            assert done.returncode == 0, f"{block.text}\n{done.stderr}"
        elif block.language == "bash":
            for command in commands(block.text):
                done = shell(command)
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        elif block.language == "console":
            for command, printed in sessions(block.text):
                done = shell(command)
                got = re.sub(r"\s+", " ", (done.stdout + done.stderr).strip())
                assert pattern(printed).fullmatch(got), f"{command}\n{got}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_to_run_runs_and_prints_what_is_shown(page, shell):
    check_page(page, shell)


def test_few_blocks_are_left_out_and_each_says_why():
    left_out = [page.name for page in PAGES for block in blocks(page) if not block.is_run]
    assert len(left_out) <= 16, left_out


def test_a_page_with_a_wrong_command_or_output_fails(shell, tmp_path):
    page = tmp_path / "page.md"
    for text in (
        "```bash\ngym-loop env=no_such\n```\n",
        "```python\nraise ValueError\n```\n",
        "```console\n$ echo 3 steps\n5 stops\n```\n",
    ):
        page.write_text(text)
        with pytest.raises(AssertionError):
            check_page(page, shell)
    page.write_text("```console\n$ echo 3 steps, then more\n5 steps, ...\n```\n")
    check_page(page, shell)


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {re.sub(r"\s+", "-", each.strip()) for each in plain}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_every_link_within_the_project_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name}: {target}"


def test_the_readme_is_short_and_begins_with_the_commands_that_ci_runs():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 200
    first = re.search(r"```bash\n(.*?)```", readme, re.DOTALL)[1]
    line = next(line for line in first.splitlines() if line.startswith("pip install"))
    assert line in (ROOT / ".ci" / "run").read_text()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in Path(ROOT / "docs").glob("*.md"):
        assert re.search(rf"\b{page.name}\b", navigation), page.name
