"""Whether structured texts close, with any schema and wherever they are cut off."""
