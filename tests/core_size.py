"""How many lines of code the core has: no blanks, comments, docstrings."""

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gym_loop"
CORE = [
    *(PACKAGE / name for name in ("__main__.py", "launch.py")),
    *(PACKAGE / "agents" / name for name in ("base_agent.py", "random_agent.py")),
    *(PACKAGE / "loops" / name for name in ("base_loop.py", "default_loop.py")),
]
LEAVES = [  # import nothing of ours
    *(
        PACKAGE / f"{name}.py"
        for name in ("closing", "imports", "literal", "mistake", "output", "streams", "sums")
    ),
    *(PACKAGE / "agents" / name for name in ("pickled.py", "environment.py", "views.py")),
    *(
        PACKAGE / "loops" / f"{name}.py"
        for name in ("copies", "limits", "parameters", "returns", "table")
    ),
]
LIMIT = 300


def lines_of_code(file):
    """Lines that hold a token of code."""
    source = file.read_text()
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in ignored and token.string.strip():
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def total(files=CORE):
    """Lines of code in several files."""
    return sum(map(lines_of_code, files))


def summary():
    """One line, for the end of a test run."""
    parts = ", ".join(f"{file.stem} {lines_of_code(file)}" for file in CORE)
    return (
        f"core: {total()} lines of code of less than {LIMIT} ({parts}); "
        f"{total(LEAVES)} in the modules that it stands on"
    )
