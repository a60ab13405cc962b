"""The page, used by a browser as people do; `pytest -m slow`."""

import json
import re
import time
from urllib.parse import urlsplit

import pytest

from tests.run_directories import HEADER, write_run

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'"


class Page:
    """A browser, and the few words in which tests speak of it."""

    def __init__(self, driver):
        self.driver = driver

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return until(lambda: self.all(selector))[0]

    def click(self, selector):
        """Click on what may just be drawn anew."""
        self.act(lambda: self.one(selector).click())

    def fill(self, selector, text):
        """Type into a field that may just be drawn anew."""

        def typed():
            field = self.one(selector)
            field.clear()
            field.send_keys(text)

        self.act(typed)

    def press(self, text, within="body"):
        """Click on a button that may just be drawn anew."""
        self.act(lambda: self.button(text, within).click())

    def tick(self, selector):
        """Tick boxes, those that are drawn anew meanwhile, too."""
        self.act(lambda: [box.click() for box in self.all(selector) if not box.is_selected()])

    def act(self, action):
        """Do what needs an element, again if that is hidden or has gone meanwhile."""
        from selenium.common import exceptions

        def done():
            try:
                action()
            except (
                exceptions.StaleElementReferenceException,
                exceptions.ElementNotInteractableException,
            ):
                return False
            return True

        until(done)

    def text(self, selector):
        return self.one(selector).text

    def button(self, text, within="body"):
        return until(lambda: [b for b in self.all(f"{within} button") if b.text == text])[0]

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def keys(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def hover(self, selector):
        """Put the pointer onto the middle of an SVG's path, where its point is."""
        x, y = self.js(
            "const p = document.querySelector(arguments[0]); const at = p.getPointAtLength("
            "p.getTotalLength() / 2); const m = p.getScreenCTM(); scrollTo(0, 0);"
            "return [at.x * m.a + m.e, at.y * m.d + m.f]",
            selector,
        )
        self.point("mouseMoved", x, y)
        return x, y

    def point(self, kind, x, y, **more):
        self.driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more}
        )

    def drag(self, start, end):
        press = {"button": "left", "clickCount": 1}
        self.point("mousePressed", *start, **press)
        self.point("mouseMoved", *end, button="left", buttons=1)
        self.point("mouseReleased", *end, **press)

    def choose(self, selector, text):
        from selenium.webdriver.support.ui import Select

        Select(self.one(selector)).select_by_visible_text(text)

    def window(self, width, height=900, scheme="light"):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def check_quiet(self, origin):
        """Nothing was complained of, and nothing was asked of anybody else."""
        assert self.driver.get_log("browser") == []
        entries = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        asked = {
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
            and not entry["params"]["documentURL"].startswith("chrome:")
        }
        own = [url for url in asked if url.startswith(origin)]
        assert own
        assert [url for url in asked if url not in own and not url.startswith("data:")] == []
        assert all(urlsplit(url).hostname == "127.0.0.1" for url in own)


def until(question, seconds=60):
    """Wait for a true answer, and return it."""
    end = time.monotonic() + seconds
    while True:
        try:
            if answer := question():
                return answer
        except Exception:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def page(browser):
    opened = Page(browser)
    opened.window(1360)
    return opened


@pytest.fixture
def runs(tmp_path):
    """Two agents of three seeds each, a failed run, and one that is hostile in every word."""
    folder = tmp_path / "runs"
    for seed in range(3):
        write_run(folder / f"ars-{seed}", "ars", seed=seed, parameters={"lr": 0.1})
        write_run(folder / f"dqn-{seed}", "dqn", seed=seed, level=50, episodes=60)
    write_run(folder / "failed", "dqn", seed=7, state="failed", error="it broke")
    hostile = {"command": HOSTILE, "host": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    (
        write_run(
            folder / HOSTILE.replace("/", "|"),
            HOSTILE,
            HOSTILE,
            parameters={HOSTILE: HOSTILE},
            error=HOSTILE,
            warnings=[HOSTILE],
            **hostile,
        )
        / "gym_loop.log"
    ).write_text(HOSTILE)
    return folder


@pytest.fixture
def played(launch):
    """Two runs that were really played."""
    words = ("agent=random", "env=cartpole", "loop.max_episodes=8", "loop.episodes_per_eval=4")
    return [
        launch(*words, "loop.eval_episodes=2", f"seed={seed}", directory=f"runs/{seed}")
        for seed in (0, 1)
    ]


def names(page):
    return [link.text for link in page.all("#table .runname a")]


def test_the_table_is_sorted_filtered_grouped_and_folded(page, runs, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: len(names(page)) == 8)
    assert page.driver.current_url == f"{visitor.origin}/"  # the token is out of sight

    page.press("Return")
    column = [cell.text for cell in page.all("#table td.k-return")]
    figures = [float(text.replace("\u2212", "-")) for text in column]
    assert figures == sorted(figures, reverse=True)
    page.one("thead [aria-sort=descending] button").click()
    assert names(page)[0] == "dqn-2" or column != [c.text for c in page.all("#table td.k-return")]

    page.one("#filter").send_keys("agent=ars lr>0.05 seed=0,2")
    until(lambda: sorted(names(page)) == ["ars-0", "ars-2"])
    assert page.text("#filter-says") == "2 of 8 runs"
    assert "filter=agent" in page.driver.current_url
    page.one("#filter").clear()
    page.one("#filter").send_keys("sed=1")
    until(lambda: "did you mean seed?" in page.text("#filter-says"))
    page.one("#filter").clear()
    page.one("#filter").send_keys(" ")
    page.click(".chip .failed")
    until(lambda: names(page) == ["failed"])
    page.click(".chip .failed")

    page.choose("#group", "agent")
    until(lambda: page.all(".fold"))
    page.press("Return")
    cells = page.js(
        "return [...document.querySelectorAll('#table tr.group td:nth-child(5)')]"
        ".map((cell) => cell.textContent.replace('\u2212', '-'))"
    )
    means = [float(text) for text in cells]
    assert means == sorted(means, reverse=means[0] > means[-1])
    folds = page.all(".fold")
    assert names(page) == []
    edges = (
        "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().x)"
    )
    heads = page.js(edges, "#table thead tr > :not(.act)")
    assert page.js(edges, "#table tr.group:first-child > :not(.act)") == heads
    dqn = next(fold for fold in folds if "agent=dqn" in fold.text)
    dqn.click()
    until(lambda: sorted(names(page)) == ["dqn-0", "dqn-1", "dqn-2", "failed"])
    next(fold for fold in page.all(".fold") if "agent=dqn" in fold.text).click()
    until(lambda: names(page) == [])
    page.check_quiet(visitor.origin)


def test_a_state_changes_and_a_run_appears_without_a_reload(page, runs, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: len(names(page)) == 8)
    page.js("window.stays = true")
    write_run(runs / "later", "ars", seed=40, parameters={"lr": 0.1})
    path = runs / "failed" / "run.json"
    path.write_text(path.read_text().replace('"failed"', '"stopped"', 1))
    until(lambda: "later" in names(page) and page.all(".state.stopped"))
    assert page.js("return window.stays")


def test_curves_are_switched_zoomed_and_tell_what_they_show(page, runs, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: len(page.all(".curve")) >= 3)
    # One evaluation each is no curve: training is shown.
    assert page.text("#chart h2") == "Training return"
    page.press("Evaluation", "#chart")
    until(lambda: page.text("#chart h2") == "Evaluation return" and page.all(".marker"))
    page.press("Training", "#chart")
    until(lambda: page.all(".curve .mean"))

    assert not page.one(".curve .seeds:not(.alone)").is_displayed()
    x, y = page.hover(".curve .mean")
    until(lambda: "seeds" in page.text(".tip") and page.all(".curve.on .seeds"))
    assert page.one(".curve.on .seeds").is_displayed()
    assert page.one(".legend li.on")

    last = page.all(".frame text")[-2].text
    page.drag((x - 100, y + 20), (x + 60, y + 20))
    until(lambda: page.button("Show all", "#chart").is_displayed())
    until(lambda: page.all(".frame text")[-2].text != last)
    page.press("Show all", "#chart")
    until(lambda: page.all(".frame text")[-2].text == last)

    for axis in ("Episodes", "Hours", "Steps"):
        page.press(axis, "#chart")
        until(lambda axis=axis: page.text(".frame .axis") == axis.lower())
    page.press("Log", "#chart")
    until(lambda: "logarithmic" in page.text("#chart .note"))
    page.choose("#chart [aria-label=Metric]", "length")
    until(lambda: page.text("#chart h2") == "Training length")
    page.choose("#chart [aria-label=Smoothing]", "none")
    assert page.text("#chart [aria-label=Environment] :checked") == "CartPole-v1"
    page.choose("#chart [aria-label=Environment]", HOSTILE)
    until(lambda: len(page.all(".curve")) == 1)
    page.check_quiet(visitor.origin)


def test_info_keys_are_in_the_menu_of_metrics_of_both_pages(page, launch, serve):
    words = ["agent=q_learning", "env=frozen_lake", "loop.info_keys=[prob]", "loop.max_episodes=9"]
    words += ["loop.episodes_per_eval=3", "loop.eval_episodes=2"]
    for name, more in (("a", ()), ("b", ("agent.epsilon=0.3",))):
        launch(*words, *more, directory=f"runs/{name}")
    visitor = serve("runs")
    runs_own = f"{visitor.origin}/run/{visitor.runs()['a']['id']}"
    for address in (visitor.address, runs_own):
        page.driver.get(address)
        until(lambda: page.text("#chart h2") == "Evaluation return")
        page.one("#chart [aria-label=Metric]").click()
        until(lambda: "prob" in page.text("#chart [aria-label=Metric]"))
        page.choose("#chart [aria-label=Metric]", "prob")
        until(lambda: page.text("#chart h2") == "Evaluation prob" and page.all(".marker"))
        page.press("Training", "#chart")
        until(lambda: page.text("#chart h2") == "Training prob" and page.all(".curve path"))
    page.check_quiet(visitor.origin)


def test_a_legends_values_say_where_they_are_if_they_are_not_at_one_place(page, runs, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    script = "return [...document.querySelectorAll('.legend .seeds')].map((e) => e.textContent)"
    until(lambda: len(page.js(script)) == 3)
    told = [text.partition("3 seeds, at ")[2] for text in page.js(script) if "seeds" in text]
    ends = [int(text.removesuffix(" steps").replace(",", "")) for text in told]
    shown = visitor.runs()
    steps = {a: [shown[f"{a}-{n}"]["steps"] for n in range(3)] for a in ("ars", "dqn")}
    assert sorted(ends) == sorted(min(each) for each in steps.values())


def test_a_point_is_clicked_and_its_episode_plays(page, played, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: page.all(".curve"))
    assert page.text("#chart h2") == "Evaluation return"
    page.press("Training", "#chart")
    page.choose("#chart [aria-label=Smoothing]", "none")
    until(lambda: page.text("#chart h2") == "Training return" and page.all(".curve .mean"))
    x, y = until(lambda: (at := page.hover(".curve .mean")) and page.all(".curve.on") and at)
    page.drag((x, y), (x, y))
    page.press("Trust this folder and watch")
    until(lambda: "every reward as recorded" in page.text("#watch .facts-line"))
    until(lambda: page.js("return document.querySelector('video').readyState >= 2"))
    until(lambda: page.one(".play").get_attribute("aria-label") == "Play")  # it has come to its end
    length = int(re.search(r"(\d+) steps", page.text("#watch .facts-line"))[1])
    assert page.text("#watch output") == f"step {length} / {length}"

    page.one("[aria-label='One step back']").click()
    assert page.text("#watch output") == f"step {length - 1} / {length}"
    film = page.js("const v = document.querySelector('video'); return v.currentTime / v.duration")
    assert film == pytest.approx((length - 0.5) / (length + 1), abs=0.02)
    assert len(page.all(".strip")) == 2

    returns = {}
    for word in ("Best", "Worst", "Last"):
        page.press(word, "#watch")
        until(lambda: "as recorded" in page.text("#watch .facts-line"))
        returns[word] = float(re.search(r"return ([\d.]+)", page.text("#watch .facts-line"))[1])
    assert returns["Worst"] <= returns["Last"] <= returns["Best"]
    page.fill("#watch .number", "3")
    page.press("Watch", "#watch .pick")
    until(lambda: page.text("#watch .facts-line").startswith("Episode 3 "))
    until(lambda: page.one("video").get_attribute("src"))
    page.fill("#watch .number", "99")
    page.press("Watch", "#watch .pick")
    until(lambda: "has no training episode 99" in page.text("#watch .overlay"))
    # The browser itself notes an answer of 400.
    assert [
        entry for entry in page.driver.get_log("browser") if "400" not in entry["message"]
    ] == []


def test_two_runs_are_watched_side_by_side_to_where_they_part(page, played, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: len(names(page)) == 2)
    page.tick("#table tbody input")
    page.press("Watch side by side")
    page.press("Trust this folder and watch")
    films = "return [...document.querySelectorAll('video')].filter(v => v.readyState > 1).length"
    until(lambda: page.js(films) == 2)
    page.press("Where they part")
    until(lambda: "reset seed" in page.text("#watch .cardhead"))
    until(lambda: page.js(films) == 2)
    assert page.one(".play").get_attribute("aria-label") == "Play"  # it waits there
    assert page.text("#watch output").startswith("step 0 /")
    page.press("Compare")
    until(lambda: page.all(".compared table"))
    assert "one config, seeds aside" in page.text(".compared")
    page.check_quiet(visitor.origin)


def test_a_runs_page_shows_what_there_is_and_its_commands_are_copied(page, played, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: names(page))
    page.all("#table .runname a")[-1].click()
    until(lambda: "random on CartPole-v1" in page.text("#name"))
    assert "agent=random" in page.text("#config")
    assert "finished" in page.text("#log")
    assert "episode-000008" in page.text("#checkpoints")
    assert "python" in page.text("#versions")
    facts = page.text("#facts")
    assert all(word in facts for word in ("8 of 8", "Disk", "Peak memory", "Steps a second"))
    command = page.one(".go code").text
    assert command == f"gym-loop resume {played[0]}"
    page.js("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.press("Copy")
    until(lambda: page.js("return window.copied") == command)
    with open(played[0] / "gym_loop.log", "a") as log:
        log.write("one more line\n")
    until(lambda: "one more line" in page.text("#log"))
    page.check_quiet(visitor.origin)


def test_hostile_words_are_text_everywhere(page, runs, serve):
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: len(names(page)) == 8)
    link = next(a for a in page.all("#table .runname a") if "onerror" in a.text)
    page.tick("#table tbody input")
    page.press("Compare")
    until(lambda: HOSTILE in page.text(".compared"))
    assert page.all(".compared img, .compared script") == []
    folded = page.all(".compared summary")[-1]
    folded.click()
    head = page.one(".compared .sortable thead th:nth-child(3)")
    head.find_element("css selector", "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    page.driver.get(link.get_attribute("href"))
    until(lambda: HOSTILE in page.text("#log"))
    until(lambda: HOSTILE in page.text("#problem"))
    assert page.all("main img, main script") == []
    assert "owned" not in page.driver.title.replace(HOSTILE, "").replace(
        HOSTILE.replace("/", "|"), ""
    )
    page.check_quiet(visitor.origin)


def test_numbers_as_far_apart_as_they_can_be_and_a_state_of_any_name(page, serve, tmp_path):
    run = write_run(tmp_path / "runs" / "odd", "dqn", state="constructor", evaluations=0)
    lines = [f"{k},{k + 1},1,{value},1,0,0,1" for k, value in enumerate(("1e308", "-1e308", "1"))]
    (run / "episodes.csv").write_text("\n".join([HEADER.strip(), *lines, ""]))
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: page.all(".curve .seed"))
    assert page.text(".chip").replace(" ", "") == "·1constructor"
    page.check_quiet(visitor.origin)


def test_everything_is_reached_by_the_keyboard_alone(page, played, serve):
    from selenium.webdriver.common.keys import Keys

    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: page.all(".curve"))
    page.keys("/")
    page.keys("seed=0")
    until(lambda: page.text("#filter-says") == "1 of 2 runs")

    def tab_to(test):
        for _ in range(60):
            page.keys(Keys.TAB)
            outline = page.js("return getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", page.js("return document.activeElement.outerHTML")
            if page.js(f"const e = document.activeElement; return {test}"):
                return
        raise AssertionError(test)

    tab_to("e.textContent === 'Training'")
    page.keys(Keys.ENTER)
    until(lambda: page.text("#chart h2") == "Training return")
    tab_to("e.classList.contains('plot')")
    page.keys(Keys.HOME)
    until(lambda: "episode 0" in page.text(".tip"))
    page.keys(Keys.ARROW_RIGHT)
    until(lambda: "episode 1" in page.text(".tip"))
    page.keys("+")
    until(lambda: page.button("Show all", "#chart").is_displayed())
    page.keys(Keys.ESCAPE)
    page.keys(Keys.HOME)
    page.keys(Keys.ENTER)
    until(lambda: page.all(".overlay.ask"))
    tab_to("e.classList.contains('primary')")
    page.keys(Keys.ENTER)
    until(lambda: "as recorded" in page.text("#watch .facts-line"))
    tab_to("e.type === 'range'")
    page.keys(Keys.HOME)
    page.keys(Keys.ARROW_RIGHT)
    assert page.text("#watch output").startswith("step 1 /")
    tab_to("e.type === 'checkbox'")
    page.keys(Keys.SPACE)
    tab_to("e.closest('.runname')")
    page.keys(Keys.ENTER)
    until(lambda: "random on CartPole-v1" in page.text("#name"))


CONTRAST = """
const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255;
  return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const parts = (text) => text.match(/[\\d.]+/g).map(Number);
const poor = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest('.offscreen, .skip, noscript, script')) continue;
  const style = getComputedStyle(e);
  const ink = parts(e instanceof SVGElement ? style.fill : style.color);
  let node = e, paper = null;
  while (node && !paper) {
    const c = parts(getComputedStyle(node).backgroundColor);
    if (c.length === 3 || c[3] > 0.99) paper = c;
    node = node.parentElement;
  }
  const [a, b] = [light(ink.slice(0, 3)), light((paper ?? [255, 255, 255]).slice(0, 3))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${e.tagName}.${e.className}: ${e.textContent.slice(0, 30)} ${ratio}`);
}
return poor;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_the_light_and_in_the_dark(page, runs, serve, scheme):
    visitor = serve("runs")
    page.window(1360, scheme=scheme)
    page.driver.get(visitor.address)
    until(lambda: page.all(".curve"))
    page.one("#table tbody input").click()
    assert page.js(CONTRAST) == []
    paper = page.js("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert brightness < 40 if scheme == "dark" else brightness > 230
    page.driver.get(page.all("#table .runname a")[0].get_attribute("href"))
    until(lambda: page.text("#config"))
    assert page.js(CONTRAST) == []


@pytest.mark.parametrize("width", [390, 1360])
def test_the_page_is_as_wide_as_its_window(page, runs, serve, width):
    visitor = serve("runs")
    page.window(width)
    page.driver.get(visitor.address)
    until(lambda: page.all(".curve"))
    assert page.js("return document.documentElement.scrollWidth") <= width
    page.one("#table tbody input").click()
    page.press("Compare")
    until(lambda: page.all(".compared table, .compared .notice"))
    assert page.js("return document.documentElement.scrollWidth") <= width
    page.driver.get(page.all("#table .runname a")[0].get_attribute("href"))
    until(lambda: page.text("#config"))
    assert page.js("return document.documentElement.scrollWidth") <= width


def test_an_empty_folder_says_what_to_launch_and_waits(page, serve, tmp_path):
    (tmp_path / "runs").mkdir()
    visitor = serve("runs")
    page.driver.get(visitor.address)
    until(lambda: "Waiting for the first run" in page.text("#empty"))
    assert "gym-loop agent=random env=pendulum" in page.text("#empty")
    write_run(tmp_path / "runs" / "first")
    until(lambda: len(names(page)) == 1)
    page.check_quiet(visitor.origin)
