"""The pages of the documentation, cut into blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?P<not_run><!-- not run: [^>]+ -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A block of code: its language, the file that it is written to, and its text."""

    language: str
    title: str
    text: str
    is_run: bool


def blocks(page):
    """The blocks of a page."""
    found = []
    for match in BLOCK.finditer(page.read_text()):
        title = re.search(r'title="([^"]+)"', match["rest"])
        text = "".join(
            line[len(match["indent"]) :] for line in match["text"].splitlines(keepends=True)
        )
        found.append(
            Block(match["language"], title[1] if title else "", text, not match["not_run"])
        )
    return found


def needs(page):
    """The modules without which a page cannot be run."""
    found = re.search(r"<!-- needs: ([\w, ]+) -->", page.read_text())
    return found[1].replace(",", " ").split() if found else []
