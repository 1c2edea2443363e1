"""bigclip: pretraining of image-text models in JAX and Flax."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bigclip.api import Model, load

__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that `import bigclip` and the commands that need no model start without JAX.
    if name in ("load", "Model"):
        from bigclip import api

        return getattr(api, name)
    raise AttributeError(f"module 'bigclip' has no attribute {name!r}")
