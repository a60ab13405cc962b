import hydra
import pytest
import yaml

from gym_loop import launch
from gym_loop.sweeps.quick_yaml import get_yaml_loader, in_python

FILES = sorted(launch.CONF.rglob("*.yaml")) + sorted(
    (launch.Path(hydra.__file__).parent / "conf").rglob("*.yaml")
)
TEXTS = (
    "",
    "a: 1e-3\nb: .5\nc: -1_000.5\nd: .inf\ne: 1e5\nf: 1.e+3\ng: 0x1f\nh: 017\ni: 190:20:30\n",
    "a: 2026-11-26\nb: 12:30:45\nc: yes\nd: off\ne: ~\nf: ???\ng: '1'\nh: !!str 2\n",
    "a: ${b.c}\nb: {c: [1, 2, {d: '${a}'}], e: http://x:80/y}\n",
    "base: &base {a: 1, b: 2}\nmore:\n  <<: *base\n  b: 3\n",
    'a: |\n  one\n   two\nb: >-\n  three\n  four\nc: "\\u00e9 \\t"\nd: caf\u00e9 # so\n',
    "a: !!python/object/apply:pathlib.Path [x, y]\n",
    "- 1\n- [a, b]\n- {c: d}\n",
)
MISTAKES = (
    "a: 1\nb: [1, 2\nc: 3\n",
    "a: 1\n a: 2\n",
    "a: 1\nb:\n  c: 1\n  c: 2\n",
    "a: 'x\n",
    "a:\n\t- 1\n",
    "a: *nobody\n",
    "a: !!python/object/apply:os.system [true]\n",
    "a: 1\n---\nb: 2\n",
    "a: \x07\n",
    "%bad\na: b: c\n",
)


def said(loader, stream):
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.load(stream, loader)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_parser_in_c_reads_what_the_one_in_python_reads(file):
    text = file.read_text()
    assert yaml.load(text, get_yaml_loader()) == yaml.load(text, in_python())


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_that_omegaconf_takes_them_for(text):
    ours, own = (yaml.load(text, loader) for loader in (get_yaml_loader(), in_python()))
    assert repr(ours) == repr(own)


@pytest.mark.parametrize("text", MISTAKES)
def test_what_is_not_yaml_is_said_with_file_and_line_as_by_the_parser_in_python(tmp_path, text):
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    assert said(get_yaml_loader(), text) == said(in_python(), text)
    with file.open() as ours, file.open() as own:
        assert said(get_yaml_loader(), ours) == said(in_python(), own)


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML has no parser in C")
def test_a_launch_reads_its_config_by_the_parser_in_c():
    from omegaconf import OmegaConf, _utils

    assert issubclass(_utils.get_yaml_loader(), yaml.cyaml.CParser)
    assert OmegaConf.load(launch.CONF / "config.yaml").seed == 0
