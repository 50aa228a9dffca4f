"""From a configuration to a running engine. Tensor libraries are imported here and not before."""

import os

from infill_engine.config import EngineConfig
from infill_engine.request import Engine


def load_engine(config: EngineConfig) -> Engine:
    """Loads the model that `config` names; takes a second or more and much of the memory.

    Raises ModelError when there is no usable model, with the remedy.
    """
    if config.is_remote:
        from infill_engine.remote import RemoteEngine

        return RemoteEngine(config)
    # Threads that spin while they wait make a busy machine ten to a hundred times slower; this is
    # read once, when torch loads OpenMP.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from infill_engine.local import LocalEngine
    from infill_engine.models.default import load_default

    return LocalEngine(load_default(config))
