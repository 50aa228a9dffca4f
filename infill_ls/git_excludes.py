"""Where git is told what to ignore, beside .gitignore files: `core.excludesFile`, `info/exclude`.

`git help gitignore` is the source of the rules.
"""

import os
from functools import lru_cache

from infill_ls.git_config import excludes_file, git_folder


@lru_cache(maxsize=32)
def exclude_files(repository: str, second: int) -> tuple[tuple[str, str], ...]:
    """Their paths, and what to call them, the weakest first. `repository` is the top folder of a
    work tree with a slash at its end, or "" for what counts everywhere. What was found holds for a
    second."""
    del second
    home = os.path.expanduser("~")
    shared = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    git = git_folder(repository) if repository else None
    named = excludes_file(git)
    if named is None:
        named = f"{shared}/git/ignore"
    files = []
    if named:
        path = os.path.join(repository or home, os.path.expanduser(named))
        files.append((path, "core.excludesFile"))
    if git:
        files.append((f"{git.shared}/info/exclude", ".git/info/exclude"))
    return tuple(files)
