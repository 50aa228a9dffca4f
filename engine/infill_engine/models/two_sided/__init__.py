"""The embedded canvas model: it reads both sides of the hole into two caches."""
