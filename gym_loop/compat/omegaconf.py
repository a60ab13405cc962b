"""What this project touches of OmegaConf's private parts, each with the reason."""

from typing import Any

from omegaconf._utils import get_omega_conf_dumper


def representers() -> Any:
    """Return how OmegaConf writes values as YAML: its `to_yaml` has the emitter in Python alone."""
    return get_omega_conf_dumper().yaml_representers
