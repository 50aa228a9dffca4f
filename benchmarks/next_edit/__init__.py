"""Next edits beside what people did next: see `__main__.py`."""
