"""The language server: LSP in, LSP out, the engine behind one call. Imports no tensor library."""

__version__ = "0.1.0"
