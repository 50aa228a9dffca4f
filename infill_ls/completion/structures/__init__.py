"""Structured texts that close: JSON by a schema or without, YAML, TOML.

What stands there stays, what is missing becomes fixed text and slots, the engine proposes what the
slots hold, and only what is right goes in.
"""
