"""What this project touches of PyTorch's private parts, each with the reason."""

from typing import Any


def uncompiled(module: Any) -> Any:
    """Return what `torch.compile` was given, or None: the compiled module does not pickle."""
    return getattr(module, "_orig_mod", None)
