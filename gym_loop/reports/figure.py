"""A report's curves as a figure for a paper."""

from pathlib import Path
from typing import Any

from gym_loop.mistake import Mistake

MOST = 10  # curves in one panel: as many as there are colours


def draw(content: dict[str, Any], file: Path) -> None:
    """Draw a panel of learning curves for each environment; the file's ending says the format.

    Raises:
        Mistake: matplotlib is not there or cannot write such a file, or there is no curve.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Mistake('--figure needs matplotlib: pip install "gym-loop[report]"') from None
    panels: dict[str, list[dict[str, Any]]] = {}
    for group in content["groups"]:
        if group["curve"]:
            panels.setdefault(" ".join(group["envs"]), []).append(group)
    if not panels:
        raise Mistake(f"no curve to draw in {file}: no group has training episodes in one env")
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    known = figure.canvas.get_supported_filetypes()
    if file.suffix[1:] not in known:
        raise Mistake(f"cannot draw {file}; expected one of: {', '.join('.' + k for k in known)}")
    for axes, (env, groups) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for group in groups[:MOST]:
            curve = group["curve"]
            steps = curve["steps"]
            axes.plot(steps, curve["mean"], label=group["label"])
            if curve["low"]:
                axes.fill_between(steps, curve["low"], curve["high"], alpha=0.2, linewidth=0)
        axes.set(title=env, xlabel="steps", ylabel=content["drawn"], xlim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(file)
