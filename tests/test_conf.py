"""The options in conf/ say what the classes that they name say."""

import re

import pytest
import yaml

from gym_loop import launch
from gym_loop.mistake import Mistake

OPTIONS = sorted(
    str(file.relative_to(launch.CONF))
    for group in ("agent", "loop")
    for file in (launch.CONF / group).rglob("*.yaml")
)


def target(option):
    """Return the content of an option and the class that it names."""
    content = yaml.safe_load((launch.CONF / option).read_text())
    try:
        return content, launch.locate(content.pop("_target_"))
    except (ImportError, Mistake) as missing:
        pytest.skip(f"needs an extra: {getattr(missing, 'message', missing)}")


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_holds_every_parameter_at_its_default(option):
    content, cls = target(option)
    if not hasattr(cls, "get_default_parameters"):
        pytest.skip("its class has no get_default_parameters")
    defaults = cls.get_default_parameters()
    assert content.keys() == defaults.keys()
    for name, value in content.items():
        if not str(value).startswith("${"):  # which takes it from elsewhere in the config
            assert (name, value) == (name, defaults[name])


@pytest.mark.parametrize("option", ["agent/ars.yaml", "agent/q_learning.yaml"])
def test_an_options_comments_are_those_of_its_class(option):
    _, cls = target(option)
    text = (launch.CONF / option).read_text()
    comments = dict(re.findall(r"^(\w+): \S+  # (.+)$", text, re.MULTILINE))
    doc = (cls.get_default_parameters.__doc__ or "") + (cls.__doc__ or "")
    for name, comment in comments.items():
        assert f"{name}: {comment}" in doc
