"""The page, looked at by a browser as its readers do: from disk."""

import json
import re
import time
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')
pytest.importorskip("jinja2", reason='needs the extra: pip install "gym-loop[report]"')

from gym_loop.commands.report import main
from tests.run_directories import write_run

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'"


@pytest.fixture
def page(tmp_path, monkeypatch, capsys):
    """The report of a sweep with recordings, a hostile run and a damaged one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "multi run" / "ü%20#1"
    for seed in range(5):
        write_run(folder / f"ars-{seed}", "ars", seed=seed, level=100, parameters={"lr": 0.1})
        write_run(folder / f"ars2-{seed}", "ars", seed=seed, level=80, parameters={"lr": 0.02})
        write_run(folder / f"dqn-{seed}", "dqn", seed=seed, level=10)
    write_run(folder / "x", HOSTILE, HOSTILE, parameters={HOSTILE: HOSTILE}, error=HOSTILE)
    (write_run(folder / "broken") / "run.json").write_text("")
    records = folder / "ars-0" / "episode_records"
    records.mkdir()
    for number in (0, 10, 49):
        film(records / f"episode-{number:06d}.mp4")
    main(["multi run", "--html", "page.html"])
    capsys.readouterr()
    return tmp_path / "page.html"


def film(file):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = imageio_ffmpeg.write_frames(str(file), (32, 32))
    frames.send(None)
    for level in range(5):
        frames.send(np.full((32, 32, 3), 50 * level, np.uint8).tobytes())
    frames.close()


def column(browser, table, place):
    """The text of a table's column, top to bottom."""
    return browser.execute_script(
        "return [...arguments[0].tBodies[0].rows].map(r => r.children[arguments[1]].innerText)",
        table,
        place,
    )


@pytest.mark.slow
def test_in_a_browser_the_page_is_quiet_asks_for_nothing_and_sorts(page, browser):
    browser.get(page.as_uri())
    assert browser.title != "owned"
    tables = browser.find_elements("css selector", "section table")
    table = next(t for t in tables if len(column(browser, t, 0)) == 3)
    heads = table.find_elements("css selector", "thead button")
    names = [head.text for head in heads]
    assert names[:3] == ["Group", "Seeds", "IQM"]

    heads[2].click()
    up = [float(text) for text in column(browser, table, 2)]
    assert up == sorted(up)
    assert heads[2].find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    heads[2].click()
    assert [float(text) for text in column(browser, table, 2)] == up[::-1]
    heads[0].click()
    assert column(browser, table, 0) == ["ars lr=0.02", "ars lr=0.1", "dqn"]

    plot = browser.find_element("css selector", ".plot")
    from selenium.webdriver import ActionChains

    ActionChains(browser).move_to_element(plot).perform()
    assert "steps" in browser.find_element("css selector", ".tip").text
    browser.execute_script("for (const v of document.querySelectorAll('video')) v.load()")
    time.sleep(0.3)

    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        and not message["params"]["documentURL"].startswith("chrome:")  # the browser's own start
    ]
    foreign = [url for url in asked if not url.startswith("data:") and url != page.as_uri()]
    assert page.as_uri() in asked
    assert foreign == []
    assert browser.get_log("browser") == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_as_wide_as_its_window_and_its_words_are_legible(page, browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": width < 500},
    )
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('td, th, p, span, li')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12


@pytest.mark.slow
def test_the_page_is_dark_for_those_who_want_it_dark_and_white_on_paper(page, browser):
    def brightness(**media):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    browser.get(page.as_uri())
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    light = [{"name": "prefers-color-scheme", "value": "light"}]
    assert brightness(media="screen", features=dark) < 40
    assert brightness(media="screen", features=light) > 240
    assert brightness(media="print", features=dark) == 255


def test_nothing_in_the_page_points_outside_and_all_of_it_is_escaped(page):
    text = page.read_text()
    assert "onerror=alert" in text  # as words
    assert "<img" not in text
    assert text.count("<script") == 1
    assert not re.findall(r"""(?:src|href|url\()=?["']?\s*(?:https?:)?//""", text)
    links = re.findall(r'href="([^"#]+)"', text)
    assert len(links) > 15
    for link in links:
        if not link.startswith("data:"):
            assert not urlsplit(link).scheme
            assert (page.parent / unquote(link)).exists(), link


def test_the_best_and_the_worst_recorded_episode_are_in_the_page(page):
    text = page.read_text()
    shown = re.findall(r"<figcaption>.*?<br>(best|worst): return (\S+), <a [^>]*>(.*?)</a>", text)
    assert [rank for rank, _, _ in shown] == ["best", "worst"]
    best, worst = (float(value.replace("−", "-")) for _, value, _ in shown)
    assert best > worst
    assert shown[1][2] == "seed 0, training episode 0"  # a learner starts low
    assert text.count("data:video/mp4;base64,") == 2


def test_recordings_that_are_too_large_for_the_page_are_linked(page, monkeypatch, capsys):
    from gym_loop.reports import page as pages

    monkeypatch.setattr(pages, "EMBEDDED", 10)
    main(["multi run", "--html", "page.html"])
    text = page.read_text()
    assert "data:video" not in text
    sources = re.findall(r'<video [^>]*src="([^"]+)"', text)
    assert len(sources) == 2
    assert all((page.parent / unquote(source)).is_file() for source in sources)


def test_a_groups_best_run_is_one_that_has_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "a", "ars", seed=0, level=50)
    write_run(tmp_path / "runs" / "b", "ars", seed=1, level=500, state="failed", error="it broke")
    main(["runs", "--html", "page.html"])
    text = re.sub("<[^>]+>", "", (tmp_path / "page.html").read_text())
    assert "gym-loop resume runs/a" in text
    assert "gym-loop resume runs/b" not in text


@pytest.mark.slow
def test_names_are_broken_at_commas_and_equals_signs_alone(tmp_path, monkeypatch, browser):
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        write_run(tmp_path / "runs" / f"CartPole-v1-try-{number}", "ars", "Cart-Pole-v1", number)
    main(["runs", "--html", "page.html"])
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    browser.get((tmp_path / "page.html").as_uri())
    heights = browser.execute_script(
        "return [...document.querySelectorAll('#runs ~ .scroll tbody th a')]"
        ".map(a => a.getClientRects().length && a.firstElementChild.getClientRects()[0].height)"
    )
    assert len(heights) == 4
    assert max(heights) < 30  # one line


@pytest.mark.slow
def test_on_a_phone_no_name_leaves_its_cell(tmp_path, monkeypatch, browser):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_run(tmp_path / "runs" / f"agent.steps_between_updates={number}", seed=number)
    write_run(tmp_path / "runs" / "long", env="E" * 500, parameters={"lr": "A" * 500})
    write_run(tmp_path / "runs" / "longer", env="E" * 500, parameters={"lr": "A" * 600})
    main(["runs", "--html", "page.html"])
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get((tmp_path / "page.html").as_uri())
    too_long = browser.execute_script(
        "return [...document.querySelectorAll('th[scope=row] .word')].filter(e =>"
        " e.getBoundingClientRect().right > e.closest('th').getBoundingClientRect().right)"
        ".map(e => e.textContent)"
    )
    assert too_long == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_a_page_without_jinja_names_the_command_that_installs_it_and_the_text_needs_none(
    tmp_path, cli
):
    write_run(tmp_path / "runs" / "a", "ars")
    (tmp_path / "jinja2.py").write_text("raise ImportError(name='jinja2')")
    done = cli("report", "runs")
    assert (done.returncode, done.stderr) == (0, "")
    done = cli("report", "runs", "--html", "page.html")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'pip install "gym-loop[report]"' in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_ticks_are_round_and_cover_the_range():
    from gym_loop.reports.page import axis_number, ticks

    assert ticks(0, 35_000) == [0, 10_000, 20_000, 30_000]
    assert ticks(-0.013, 0.021) == [-0.01, 0, 0.01, 0.02]
    assert ticks(-3000, 10) == [-3000, -2000, -1000, 0]
    assert [axis_number(value) for value in (20_000, 1_500_000, -200, 0.5)] == [
        *("20k", "1.5M", "−200", "0.5")
    ]


def test_what_only_one_agent_has_is_no_difference_and_many_keys_go_down_the_page(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    varied = {f"lr{n}": 0.1 for n in range(4)}
    write_run(tmp_path / "runs" / "a", "ars", seed=0, parameters={**varied, "own": 3})
    write_run(tmp_path / "runs" / "b", "dqn", seed=0, parameters=dict.fromkeys(varied, 0.2))
    main(["runs", "--html", "page.html"])
    section = (tmp_path / "page.html").read_text().partition('id="configs"')[2]
    section = section.partition('id="runs"')[0]
    heads = [
        re.sub("<[^>]+>", "", head) for head in re.findall(r"<th scope=\"col\".*?</th>", section)
    ]
    rows = [
        re.sub("<[^>]+>", "", head) for head in re.findall(r"<th scope=\"row\".*?</th>", section)
    ]
    assert heads == ["Key", "ars", "dqn"]
    assert rows == ["agent._target_", *(f"agent.{key}" for key in varied)]


@pytest.mark.slow
def test_a_page_of_many_settings_fits_the_width_of_its_paper(tmp_path, monkeypatch, browser):
    monkeypatch.chdir(tmp_path)
    for group in range(7):
        values = {f"parameter_number_{n}": 0.1 * group for n in range(9)}
        write_run(tmp_path / "runs" / str(group), "ars", parameters=values)
    main(["runs", "--html", "page.html"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    width = 688  # of A4 between its margins, in pixels
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        browser.get((tmp_path / "page.html").as_uri())
        widths = browser.execute_script(
            "return [document.documentElement.scrollWidth,"
            " ...[...document.querySelectorAll('table')].map(t => t.scrollWidth)]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert max(widths) <= width


@pytest.mark.slow
def test_films_are_the_best_and_the_worst_episode_of_each_groups_best_run(cli, tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="needs an encoder")
    for seed in (0, 1):
        words = ["env=cartpole", "loop.max_episodes=4", "loop.eval_episodes=2", f"seed={seed}"]
        assert cli("agent=random", *words, f"hydra.run.dir=runs/{seed}").returncode == 0
    refused = cli("report", "runs", "--films")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--html FILE" in refused.stderr

    done = cli("report", "runs", "--html", "page.html", "--films")

    assert done.returncode == 0, done.stderr
    told = {n: json.loads((tmp_path / f"runs/{n}/run.json").read_text())["result"] for n in (0, 1)}
    best = max(told, key=told.__getitem__)
    lines = (tmp_path / f"runs/{best}/episodes.csv").read_text().splitlines()[1:]
    returns = [float(line.split(",")[3]) for line in lines]
    text = (tmp_path / "page.html").read_text()
    shown = re.findall(r"<figcaption>.*?<br>(best|worst): return (\S+), <a [^>]*>(.*?)</a>", text)
    for (rank, value, what), wanted in zip(shown, (max(returns), min(returns)), strict=True):
        assert float(value) == wanted
        assert what == f"seed {best}, training episode {returns.index(wanted)}"
        assert (tmp_path / f"page-films/01-{rank}.mp4").is_file()
    assert text.count("data:video/mp4;base64,") == 2

    for file in (tmp_path / f"runs/{best}/traces").rglob("*"):
        if file.is_file():
            file.unlink()
    done = cli("report", "runs", "--html", "page.html", "--films")
    assert done.returncode == 0
    assert "no film of its best episode" in done.stderr
    assert "data:video" not in (tmp_path / "page.html").read_text()
