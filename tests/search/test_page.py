"""The page of a search: history, parameters, trials and the confirmation, in one file."""

import re

import pytest

optuna = pytest.importorskip("optuna", reason="needs the extra search")
pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')
pytest.importorskip("jinja2", reason='needs the extra: pip install "gym-loop[report]"')

from gym_loop.commands import ls  # noqa: E402
from gym_loop.commands.report import main  # noqa: E402
from gym_loop.mistake import Mistake  # noqa: E402
from gym_loop.search.jobs import name_of  # noqa: E402
from gym_loop.search.space import Dimension, Dimensions  # noqa: E402
from gym_loop.search.study import OVERRIDES, Study  # noqa: E402
from tests.run_directories import write_run  # noqa: E402

HOSTILE = "</script><b>x"
RATES = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
KINDS = optuna.distributions.CategoricalDistribution(["plain", HOSTILE])
SPACE = Dimensions(
    {
        "agent.lr": Dimension("agent.lr", "tag(log, interval(1e-4, 1))", RATES),
        "agent.kind": Dimension("agent.kind", "choice(plain,x)", KINDS),
    }
)


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search of 9 trials, six complete, one failed, two paused; the best was confirmed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "search"
    folder.mkdir()
    definition = {**SPACE.describe(), "hydra.sweeper.seeds": "0"}
    definition["hydra.sweeper.objective"] = "evaluation"
    study = Study(
        folder, definition, SPACE, "maximize", lambda n: optuna.samplers.RandomSampler(seed=n)
    )
    for count in range(9):
        number = study.ask(1)
        study.report(number, 1, 10.0 * count)
        if count < 6:
            study.tell(number, [3.0, 5.0, 4.0, 9.0, 1.0, 2.0][count])
        elif count == 6:
            study.fail(number, "too large")
    best = study.trials()[3].user_attrs[OVERRIDES]
    for seed in (3, 4):
        write_run(folder / "confirm" / name_of(best, seed), parameters={"lr": 0.1}, seed=seed)
        write_run(folder / "confirm" / f"seed={seed}", parameters={"lr": 0.5}, seed=seed)
    return folder


def test_the_page_shows_history_parameters_trials_and_confirmation(search, capsys):
    main(["search", "--html", "page.html"])
    assert "9 trials: 6 complete, 2 paused, 1 failed" in capsys.readouterr().out
    text = (search.parent / "page.html").read_text()

    assert (
        "Best: trial 3: interquartile mean of evaluation over the fresh seeds 3 to 4: "
        in re.sub("<[^>]+>", "", text)
    )
    history, *parameters = re.findall(r'<svg [^>]*aria-label="([^"]*)".*?</svg>', text, re.S)[:3]
    assert history.startswith("Best")
    assert {name.partition(",")[0] for name in parameters} == {"agent.lr", "agent.kind"}
    assert all("importance" in name for name in parameters)
    first, second = re.findall(r"(<svg .*?</svg>)", text, re.S)[:2]
    assert (first.count('class="spot c0"'), first.count("hollow")) == (6, 0)
    assert (second.count('class="spot c0"'), second.count("hollow")) == (9, 3)
    states = re.findall(r'<td><span class="state \w+">(\w+)<', text)
    assert states == ["paused", "paused", "failed", *["complete"] * 6]
    assert "defaults are the agent's" in text
    assert "<li>trial 3: <code>agent.lr=" in text
    assert '<span class="word">defaults</span>' in text
    assert "(PED-ANOVA), of 6 complete trials." in text
    assert 'class="findings"' in text
    assert HOSTILE not in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    "values",
    [
        [float("inf")] * 4,
        [1.0, float("inf"), 2.0, float("-inf")],
        [1.7e308, -1.7e308, 1.0, 2.0, 1e200],
    ],
)
def test_results_beyond_a_drawing_are_in_the_table_alone(tmp_path, monkeypatch, capsys, values):
    monkeypatch.chdir(tmp_path)
    definition = {**SPACE.describe(), "hydra.sweeper.objective": "evaluation"}
    definition["hydra.sweeper.seeds"] = "0"
    study = Study(
        tmp_path, definition, SPACE, "maximize", lambda n: optuna.samplers.RandomSampler(seed=n)
    )
    for value in values:
        study.tell(study.ask(1), value)
    main([".", "--html", "page.html"])

    text = (tmp_path / "page.html").read_text()
    assert not re.search(r'd="[^"]*(nan|inf)', text)
    assert all(f"{value:.6g}" in text for value in values)
    assert capsys.readouterr().err == "wrote page.html\n"


def test_secret_choices_are_in_no_view_of_a_search(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keys = optuna.distributions.CategoricalDistribution(["sesame-1", "sesame-2"])
    space = Dimensions({"agent.api_key": Dimension("agent.api_key", "choice(a,b)", keys)})
    (tmp_path / "search").mkdir()
    definition = {**space.describe(), "hydra.sweeper.seeds": "0"}
    definition["hydra.sweeper.objective"] = "evaluation"
    study = Study(
        tmp_path / "search",
        definition,
        space,
        "maximize",
        lambda n: optuna.samplers.RandomSampler(seed=n),
    )
    for count in range(4):
        study.tell(study.ask(1), float(count))
    best = study.trials()[3].user_attrs[OVERRIDES]
    for seed in (3, 4):
        write_run(tmp_path / "search/confirm" / name_of(best, seed), seed=seed)
        write_run(tmp_path / "search/confirm" / f"seed={seed}", seed=seed)

    main(["search", "--html", "page.html"])
    main(["search"])
    ls.main(["search"])

    shown = capsys.readouterr().out + (tmp_path / "page.html").read_text()
    assert "agent.api_key" in shown
    assert "(hidden)" in shown
    assert "sesame" not in shown


def test_a_search_that_was_not_confirmed_says_so_and_films_are_refused(search, capsys):
    import shutil

    shutil.rmtree(search / "confirm")
    main(["search", "--html", "page.html"])
    assert "Not confirmed" in (search.parent / "page.html").read_text()
    with pytest.raises(Mistake, match="films are of runs that are compared"):
        main(["search", "--html", "page.html", "--films"])


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser_the_page_of_a_search_fits_and_is_quiet(search, browser, width):
    main(["search", "--html", "page.html"])
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get((search.parent / "page.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
