"""Makes docs/live-page.png: the live page on some runs, as headless Chromium shows it.

`python -m tests.docs.picture` needs the extras `serve` and `browser`, chromium and chromedriver.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver

ROOT = Path(__file__).parents[2]

WORDS = (
    *("agent=ars", "env=cartpole", "loop.max_episodes=320", "loop.episodes_per_eval=16"),
    *("agent.noise=0.03,0.3", "seed=range(5)", "loop.eval_episodes=10"),
)
FLAGS = ("headless", "no-sandbox", "disable-gpu", "window-size=1280,1000", "hide-scrollbars")


def main() -> None:
    """Launch the runs, serve them, and take the picture."""
    with tempfile.TemporaryDirectory(prefix="cartpole-") as folder:
        program = [sys.executable, "-m", "gym_loop"]
        words = [*program, "-m", *WORDS, "hydra.sweep.dir=multirun/ars"]
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        served = subprocess.Popen(
            [*program, "serve", "--no-browser", "--port", "0"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert served.stdout is not None
            address = next(
                word for line in served.stdout for word in line.split() if "http" in word
            )
            options = webdriver.ChromeOptions()
            for flag in FLAGS:
                options.add_argument(f"--{flag}")
            options.binary_location = shutil.which("chromium")
            service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
            browser = webdriver.Chrome(options=options, service=service)
            browser.get(address)
            time.sleep(5)  # the curves are drawn when the runs have been read
            picture = Path(folder) / "page.png"
            browser.save_screenshot(str(picture))
            browser.quit()
        finally:
            served.terminate()
            served.wait()
        # A palette of 64 colors is enough, and a quarter of the size.
        Image.open(picture).convert("RGB").quantize(64).save(
            ROOT / "docs" / "live-page.png", optimize=True
        )


if __name__ == "__main__":
    main()
