"""TensorBoard's HPARAMS tab, asked through its own plugin."""

from types import SimpleNamespace

import pytest

from gym_loop.mistake import Mistake
from gym_loop.observers.hparams import HParams
from tests.conftest import left_by_a_killed_process


def session_groups(folder):
    """What the tab shows of a folder: run -> (hyperparameters, metrics, status)."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import (
        api_pb2,
        backend_context,
        get_experiment,
        list_session_groups,
    )

    multiplexer = EventMultiplexer(tensor_size_guidance={"tensors": 0})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    experiment = get_experiment.Handler(
        RequestContext(), context, "", api_pb2.GetExperimentRequest()
    ).run()
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
    )
    for info in experiment.metric_infos:
        request.col_params.add(metric=info.name)
    listed = list_session_groups.Handler(RequestContext(), context, "", request).run()
    found = {}
    for group in listed.session_groups:
        (session,) = group.sessions
        hparams = {
            name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()
        }
        metrics = {(m.name.group, m.name.tag): m.value for m in session.metric_values}
        found[session.name] = hparams, metrics, session.status
    return found


@pytest.mark.slow
def test_a_sweep_is_a_table_of_configs_and_evaluations(cli, tmp_path):
    words = ["-m", "env=cartpole", "seed=0,1", "loop.max_episodes=3", "hydra.sweep.dir=sweep"]
    assert cli(*words, "loop.eval_episodes=2").returncode == 0
    from gym_loop.runs import manifest

    rows = session_groups(tmp_path / "sweep")
    assert set(rows) == {"seed=0", "seed=1"}
    for name, (hparams, metrics, status) in rows.items():
        assert name == f"seed={hparams['seed']:.0f}"
        assert hparams["env.id"] == "CartPole-v1"
        assert hparams["loop.max_episodes"] == 3
        assert hparams["loop.record"] is False
        assert hparams["loop.max_steps"] == "null"
        assert status == 1
        result = manifest.read(tmp_path / "sweep" / name)["result"]
        assert metrics["", "evaluation"] == pytest.approx(result)


def test_a_run_that_is_continued_has_one_row(launch):
    directory = launch("env=cartpole", "loop.max_episodes=2")
    (first,) = directory.glob("events.out.tfevents.*.hparams")
    assert first.stat().st_size > 500
    with pytest.raises((SystemExit, Mistake)):
        launch("env=cartpole", "loop.max_episodes=2")  # finished: nothing is done
    assert len(list(directory.glob("events.out.tfevents.*.hparams"))) == 1


def test_what_a_killed_launch_left_of_its_row_is_removed(launch):
    directory = launch("env=cartpole", "loop.max_episodes=2")
    (row,) = directory.glob("events.out.tfevents.*.hparams")
    left_by_a_killed_process(row).touch()
    launch("env=cartpole", "loop.max_episodes=3")
    assert not [*directory.glob(".tmp-*")]


def test_a_run_that_failed_has_a_row_without_a_metric(launch, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from gym_loop.agents import RandomAgent\n\n\n"
        "class Broken(RandomAgent):\n"
        "    def update(self, episode_num):\n"
        "        raise ValueError('broken')\n"
    )
    with pytest.raises(ValueError, match="broken"):
        launch("agent=broken.py:Broken", "env=cartpole")
    rows = session_groups(tmp_path)
    (hparams, metrics, status) = rows["run"]
    assert hparams["agent._target_"].endswith("broken.py:Broken")
    assert ("", "evaluation") not in metrics
    assert status == 2


def test_events_are_written_as_tensorboards_own_functions_write_them():
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    observer = HParams()
    observer.config = {"seed": 3}  # of several keys, the order differs from process to process
    observer.loop = SimpleNamespace(steps=12, result=7.5)
    _, event, _ = map(Event.FromString, observer._events(1.0, None))
    assert [value.tag for value in event.summary.value] == [
        metadata.SESSION_START_INFO_TAG,
        metadata.SESSION_END_INFO_TAG,
    ]
    for value in event.summary.value:
        data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
        assert value.metadata == metadata.create_summary_metadata(data)
        assert value.tensor == metadata.NULL_TENSOR
