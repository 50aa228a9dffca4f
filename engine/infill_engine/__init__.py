"""The diffusion engine: text on both sides of a hole in, the text that belongs in it out.

Knows nothing of LSP, editors or syntax trees. Importing this package imports no tensor library;
`load_engine` does.
"""

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_engine.config import EngineConfig
from infill_engine.errors import InfillError, ModelError, RequestError
from infill_engine.load import load_engine
from infill_engine.remedies import installing
from infill_engine.request import (
    Cell,
    Draft,
    Engine,
    EngineInfo,
    Hole,
    InfillRequest,
    Probe,
    Remote,
)

__all__ = [
    "UNLIMITED",
    "Budget",
    "BudgetSpent",
    "Cell",
    "Draft",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "Hole",
    "InfillError",
    "InfillRequest",
    "ModelError",
    "Probe",
    "Remote",
    "RequestError",
    "installing",
    "load_engine",
]
