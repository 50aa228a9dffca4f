"""Emacs's init file: a block of ours at its end, between two lines by which it is known."""

import re

START, END = ";; >>> infill-ls", ";; <<< infill-ls"
# Comments, strings, characters such as ?( and ?\), brackets; what else there is does not matter.
_TOKEN = re.compile(
    r"""
    ;[^\n]* | "(?:[^"\\]|\\[\s\S])*" | \?\\?[\s\S] | \\[\s\S] | [()\[\]"]
    | [\w*+/<>=!$%&~^:-][\w*+/<>=!$%&~^:?-]*
    """,
    re.VERBOSE,
)
_WRITTEN = re.compile(
    rf"(?:^\r?\n)?^[ \t]*{START}(?:(?!{START})[\s\S])*?^[ \t]*{END}[^\n]*(?:\n|\Z)", re.MULTILINE
)
_BLOCK = """\
{start}, written by `infill-ls setup`; `infill-ls setup --undo` takes it out
(with-eval-after-load 'lsp-mode
  (lsp-register-client
   (make-lsp-client
    :new-connection (lsp-stdio-connection '({command}))
    :activation-fn (lambda (&rest _) t)
    :add-on? t
    :server-id 'infill-ls))
  (setq lsp-inline-completion-idle-delay 0.2))
(when (fboundp 'lsp-deferred) (add-hook 'prog-mode-hook #'lsp-deferred))
{end}
"""


class LispError(Exception):
    """The brackets or quotes of the text do not fit; says where."""


def with_block(text: str, command: tuple[str, ...]) -> str:
    """Raises LispError."""
    _check(text)
    quoted = " ".join(
        '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in command
    )
    block = _BLOCK.format(start=START, end=END, command=quoted)
    newline = "\r\n" if "\r\n" in text else "\n"
    before = "" if not text or text.endswith("\n") else newline
    gap = newline if text.strip() else ""
    return text + before + gap + block.replace("\n", newline)


def without_block(text: str) -> str:
    """Raises LispError where a block has no end."""
    text = _WRITTEN.sub("", text)
    if START in text:
        raise LispError(
            f"behind the line {_line(text, text.index(START))} of {START} there is none of {END}"
        )
    return text


def _check(text: str) -> None:
    open_: list[tuple[str, int]] = []
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "(" | "[":
                open_.append((token[0], token.start()))
            case ")" | "]":
                if not open_ or open_.pop()[0] != {")": "(", "]": "["}[token[0]]:
                    raise LispError(f"line {_line(text, token.start())} closes what is not open")
            case '"':
                raise LispError(f"the string of line {_line(text, token.start())} is not closed")
    if open_:
        raise LispError(f"the bracket of line {_line(text, open_[-1][1])} is not closed")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
