"""What this project touches of PyTorch's private parts, each with the reason."""

import contextlib
from collections.abc import Iterator
from typing import Any

from gym_loop.mistake import text_of

# In the RuntimeErrors of `torch.save` for a file that cannot be written, in its two formats.
UNWRITTEN = ("inline_container.cc", "iostream error", "write(): fd ")


def uncompiled(module: Any) -> Any:
    """Return what `torch.compile` was given, or None: the compiled module does not pickle."""
    return getattr(module, "_orig_mod", None)


@contextlib.contextmanager
def write_errors() -> Iterator[None]:
    """Raise an OSError where PyTorch cannot write a file, which it calls a RuntimeError.

    The system's own word is known where the file was opened by Python.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in text_of(error) for sign in UNWRITTEN):
            raise
        if isinstance(why := error.__context__, OSError):
            raise OSError(why.errno, why.strerror) from error
        raise OSError(f"PyTorch: {error}".partition("\n")[0]) from error
