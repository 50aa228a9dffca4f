"""Which source files a workspace has, and their texts: none that is ignored or holds secrets.

Paths have slashes. Nothing here raises: what cannot be read is not there.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from infill_ls.ignore import IgnorePolicy, ignored_file
from infill_ls.secret_texts import Secrets, secrets_of
from infill_ls.syntax.language import language_id_of, language_of

# What is larger was not written by people, and neither are lines that long.
MAX_CHARACTERS, MAX_LINE = 100_000, 400
MAX_ENTRIES = 10_000  # of a folder; what has more is data
# Folders that hold other people's code, also where no .gitignore says so.
FOREIGN = frozenset({"node_modules", "bower_components", "site-packages", "__pycache__"})
VIRTUAL_ENVIRONMENT = "pyvenv.cfg"
ALIKE = (
    frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact", "vue", "svelte"}),
    frozenset({"c", "cpp"}),
)


def source_files(folders: Sequence[str], policy: IgnorePolicy) -> Iterator[str]:
    """Files in languages of source, by name and those near the top first, and "" now and then where
    there are none, so that whoever reads can stop. Links to folders are not followed, and those to
    files only where they lead to what is read as well."""
    waiting = deque(folder.rstrip("/") for folder in folders)
    while waiting:
        folder = waiting.popleft()
        try:
            with os.scandir(folder + "/") as found:
                entries = sorted(islice(found, MAX_ENTRIES), key=lambda entry: entry.name)
        except (OSError, ValueError):
            continue
        yield ""
        if any(entry.name == VIRTUAL_ENVIRONMENT for entry in entries):
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    # What is said of anything in it is said of all of it.
                    if not (_foreign(entry.name) or ignored_file(policy, f"{path}/_")):
                        waiting.append(path)
                elif entry.is_symlink():
                    if entry.is_file() and is_found(path, folders, policy):
                        yield path
                elif is_source(path) and entry.is_file() and not ignored_file(policy, path):
                    yield path
            except OSError:
                continue


def is_found(path: str, folders: Sequence[str], policy: IgnorePolicy) -> bool:
    """Whether `source_files` finds this path, if there is a file."""
    if not is_source(path) or ignored_file(policy, path):
        return False
    if not any(_reached(path, folder, policy) for folder in folders):
        return False
    if not os.path.islink(path):
        return True
    target = os.path.realpath(path).replace(os.sep, "/")
    real = (os.path.realpath(folder).replace(os.sep, "/") for folder in folders)
    return any(_reached(target, folder, policy) for folder in real)


def _reached(path: str, folder: str, policy: IgnorePolicy) -> bool:
    """Whether each folder between is one that is looked into."""
    at = folder.rstrip("/")
    if not path.startswith(f"{at}/") or os.path.lexists(f"{at}/{VIRTUAL_ENVIRONMENT}"):
        return False
    for name in path[len(at) + 1 :].split("/")[:-1]:
        at = f"{at}/{name}"
        if _foreign(name) or os.path.islink(at) or ignored_file(policy, f"{at}/_"):
            return False
        if os.path.lexists(f"{at}/{VIRTUAL_ENVIRONMENT}"):
            return False
    return True


def _foreign(name: str) -> bool:
    """Whether a folder of this name holds what others wrote, or programs."""
    return name.startswith(".") or name in FOREIGN


def is_source(path: str) -> bool:
    language = language_of(language_id_of(path))
    return language.id != "plaintext" and not language.prose


def language_family(language_id: str) -> frozenset[str]:
    """The ids of the languages whose texts are of use to one another."""
    same = language_of(language_id).id
    return next((family for family in ALIKE if same in family), frozenset({same}))


def source_text(path: str, policy: IgnorePolicy) -> str | None:
    """With LF line ends; None where it is no source that people write, or holds a secret."""
    if not is_source(path) or ignored_file(policy, path):
        return None
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > 4 * MAX_CHARACTERS:
            return None
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
    except (OSError, ValueError):
        return None
    return kept_text(text)


def kept_text(text: str) -> str | None:
    """Of a file or an open document, as `source_text`."""
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    if len(text) > MAX_CHARACTERS or "\0" in text:
        return None
    if len(text) > MAX_LINE * (text.count("\n") + 1):
        return None
    return None if secrets_of(text, Secrets()).found else text
