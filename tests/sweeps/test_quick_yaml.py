import io
import os

import hydra
import pytest
import yaml
from omegaconf import OmegaConf, _utils

from gym_loop import launch

if not hasattr(_utils, "get_yaml_loader"):
    pytest.skip("this OmegaConf has a parser in C itself", allow_module_level=True)

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
    "a: 'b\tc'\nd: |\n  e\tf\n",
)
MISTAKES = (
    "a: 1\nb: [1, 2\nc: 3\n",
    "a: 1\n a: 2\n",
    "a: 1\nb:\n  c: 1\n  c: 2\n",
    "a: 'x\n",
    "a:\n\t- 1\n",
    "a: 5\t# what only the parser in C takes\n",
    "a: [1,\t2]\n",
    "a: !!set \tb, c}\n",
    "a: *nobody\n",
    "a: !!python/object/apply:os.system [true]\n",
    "a: 1\n---\nb: 2\n",
    "a: \x07\n",
    "%bad\na: b: c\n",
)


def said(loader, stream):
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.load(stream, loader)
    error = caught.value
    mark = getattr(error, "problem_mark", None)
    where = mark and (mark.name, mark.line, mark.column)
    return type(error), getattr(error, "problem", None) or str(error), where


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
    assert issubclass(_utils.get_yaml_loader(), yaml.cyaml.CParser)
    assert OmegaConf.load(launch.CONF / "config.yaml").seed == 0


def test_a_pipe_is_read_once_and_a_stream_from_where_it_stands():
    reading, writing = os.pipe()
    os.write(writing, b"a: 1\nb: [1, 2\nc: 3\n")
    os.close(writing)
    with open(reading) as pipe, pytest.raises(yaml.YAMLError, match="expected ',' or ']'"):
        OmegaConf.load(pipe)
    stream = io.StringIO("not: [yaml\na: 1\na: 2\n")
    stream.readline()
    with pytest.raises(yaml.YAMLError, match="found duplicate key a"):
        OmegaConf.load(stream)


def test_what_is_added_to_yamls_own_loader_is_read(monkeypatch):
    monkeypatch.setattr(yaml.SafeLoader, "yaml_constructors", {**yaml.SafeLoader.yaml_constructors})
    yaml.SafeLoader.add_constructor("!twice", lambda loader, node: 2 * node.value)
    assert yaml.load("a: !twice ab", get_yaml_loader()) == {"a": "abab"}
