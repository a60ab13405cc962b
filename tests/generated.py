"""What is made of the loops' parameters: conf/loop/ and README's table.

`python -m tests.generated` writes them.
"""

from pathlib import Path

from gym_loop.commands.create_default import entry
from gym_loop.loops import parameters

ROOT = Path(__file__).parents[1]
CONFIG = """# Written by `python -m tests.generated` from gym_loop/loops/parameters.py.
_target_: {target}
# Directories are relative to the run's own; null means no limit.
"""
LOOPS = {
    "default": ("gym_loop.loops.DefaultLoop", parameters.DEFAULT),
    "vector": ("gym_loop.vector.loop.VectorLoop", parameters.VECTOR),
}
BEGIN = "<!-- loop parameters, written by: python -m tests.generated -->\n"
END = "<!-- end of loop parameters -->\n"


def config(target, table):
    """The option of a loop, each parameter with its comment."""
    lines = [entry("loop", name, each.default, each.help) for name, each in table.items()]
    return CONFIG.format(target=target) + "".join(lines)


def readme_table():
    """README's table: what DefaultLoop has, then what only VectorLoop has."""
    rows = ["| `loop.` | default | | `resume` may change it |", "|---|---|---|---|"]
    for name in dict.fromkeys((*parameters.DEFAULT, *parameters.VECTOR)):
        each = parameters.ALL[name]
        default = entry("loop", name, each.default, None).partition(": ")[2].strip()
        text = each.help if name in parameters.DEFAULT else f"with `loop=vector`: {each.help}"
        rows.append(f"| `{name}` | {default} | {text} | {'yes' if each.resume else 'no'} |")
    return "\n".join(rows) + "\n"


def files():
    """The content of each file, as it should be."""
    content = {
        ROOT / "conf" / "loop" / f"{option}.yaml": config(target, table)
        for option, (target, table) in LOOPS.items()
    }
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    _, after = rest.split(END)
    return content | {readme: f"{before}{BEGIN}{readme_table()}{END}{after}"}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
