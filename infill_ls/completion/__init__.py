"""From a snapshot and a cursor to what may be shown there."""
