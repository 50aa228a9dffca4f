"""Reads the files of a workspace and chooses among them. Belongs to one thread."""

import time
from collections.abc import Callable, Iterator, Sequence

from infill_engine.request import FILE_END
from infill_ls.completion.surroundings import Place, Surroundings
from infill_ls.completion.workspace.files import (
    VIRTUAL_ENVIRONMENT,
    is_found,
    is_source,
    kept_text,
    source_files,
    source_text,
)
from infill_ls.completion.workspace.index import File, Index, Typed, file_of, nothing
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy, ignored_file
from infill_ls.uris import path_of

MAX_SECONDS = 20.0  # of one core, to read a workspace
# So many characters are searched at every key: 2 ms.
ELSEWHERE = 256_000


class WorkspaceReading:
    """What is known of some folders."""

    def __init__(self, folders: Sequence[str], policy: IgnorePolicy) -> None:
        self._folders, self._policy = folders, policy
        self._index = Index()

    def read(self) -> Iterator[str]:
        """A file or a folder at a time, within the bounds: "", and at last a line about all. What
        is known stays as it is, if it would still be read."""
        index, taken, started = self._index, 0.0, time.monotonic()
        for path in list(index.files):
            if not self._is_found(path):
                index.put(path, None)
            yield ""
        began = time.thread_time()
        for path in source_files(self._folders, self._policy):
            if path and path not in index.files:
                index.put(path, source_text(path, self._policy))
            taken += time.thread_time() - began
            if index.full or taken > MAX_SECONDS:
                break
            yield ""
            began = time.thread_time()
        yield (
            f"workspace: {len(index.files)} files, {index.characters / 1e6:.1f} MB, "
            f"read in {time.monotonic() - started:.1f} s"
        )

    def read_again(self, path: str) -> bool:
        """A file, or a folder, that was written, made or removed; whether it says something else
        now."""
        path = path.removesuffix(f"/{VIRTUAL_ENVIRONMENT}")  # which says what its folder is
        changed = self._put(path)
        if not is_source(path):  # a folder, perhaps one that is no more
            for below in [each for each in self._index.files if each.startswith(f"{path}/")]:
                changed |= self._put(below)
        return changed

    def _is_found(self, path: str) -> bool:
        return is_found(path, self._folders, self._policy)

    def _put(self, path: str) -> bool:
        text = source_text(path, self._policy) if self._is_found(path) else None
        before = self._index.files.get(path)
        if text == (before.text if before else None):
            return False
        self._index.put(path, text)
        return True

    def choose(self, place: Place, stand_back: Callable[[], None] = nothing) -> Surroundings:
        """What is of use at the place; `stand_back` is called every millisecond or two."""
        document = place.document
        path = path_of(document.uri) or ""
        opened = {
            name: file
            for each in place.opened
            if (name := path_of(each.uri) or "") != path
            and (file := self._open_file(name, each)) is not None
        }
        typed = Typed(
            path=path,
            language_id=document.language_id,
            before=document.text[: place.offset],
            after=document.text[place.offset :],
        )
        edited = {path_of(uri) or "" for uri in place.edited}
        ranked = self._index.ranked(typed, opened, edited, stand_back)
        # Not every client says that an ignore file has changed.
        allowed = (each for each in ranked if not ignored_file(self._policy, each.path))
        elsewhere, files = _joined(allowed, ELSEWHERE)
        return Surroundings(elsewhere=elsewhere, files=files)

    def _open_file(self, path: str, document: Document) -> File | None:
        if not is_source(path) or ignored_file(self._policy, path):
            return None
        text = kept_text(document.text)
        return None if text is None else file_of(path, text, document.language_id)


def _joined(files: Iterator[File], most: int) -> tuple[str, tuple[str, ...]]:
    """The first of them, the last one cut at a line's end, and their paths."""
    texts: list[str] = []
    paths: list[str] = []
    for file in files:
        text = file.text[:most]
        if len(text) < len(file.text):
            text = text[: text.rfind("\n") + 1]
        texts += text, FILE_END
        paths.append(file.path)
        most -= len(text) + 1
        if most <= 0:
            break
    return "".join(texts), tuple(paths)
