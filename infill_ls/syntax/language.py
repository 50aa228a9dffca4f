"""What the server knows about languages, as one table. Grammars are imported when first needed.

A language that is not in the table, or whose grammar is not installed, is completed all the same,
only without the syntax check.
"""

import logging
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import PurePath

import tree_sitter

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """`grammar` is the module of a PyPI package and the function in it; "" for none.

    `indentation` is used where a file shows none of its own. `line_comment` is "" where the
    language has none. `carry_on` are the words that continue a block at the indentation of the
    line that opened it (`else`), `close` those that end it (`end`).
    """

    id: str
    grammar: str
    line_comment: str
    indentation: str = "    "
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    file_names: tuple[str, ...] = ()
    carry_on: frozenset[str] = frozenset()
    close: frozenset[str] = frozenset()


_BRACES = frozenset({"else", "catch", "finally", "while", "case", "default"})

LANGUAGES: tuple[Language, ...] = (
    Language(
        id="python",
        grammar="tree_sitter_python:language",
        line_comment="#",
        aliases=("py", "python3"),
        extensions=(".py", ".pyi", ".pyw"),
        carry_on=frozenset({"elif", "else", "except", "finally", "case"}),
    ),
    Language(
        id="javascript",
        grammar="tree_sitter_javascript:language",
        line_comment="//",
        indentation="  ",
        aliases=("js", "javascriptreact", "jsx"),
        extensions=(".js", ".mjs", ".cjs", ".jsx"),
        carry_on=_BRACES,
    ),
    Language(
        id="typescript",
        grammar="tree_sitter_typescript:language_typescript",
        line_comment="//",
        indentation="  ",
        aliases=("ts",),
        extensions=(".ts", ".mts", ".cts"),
        carry_on=_BRACES,
    ),
    Language(
        id="typescriptreact",
        grammar="tree_sitter_typescript:language_tsx",
        line_comment="//",
        indentation="  ",
        aliases=("tsx",),
        extensions=(".tsx",),
        carry_on=_BRACES,
    ),
    Language(
        id="java",
        grammar="tree_sitter_java:language",
        line_comment="//",
        extensions=(".java",),
        carry_on=_BRACES,
    ),
    Language(
        id="go",
        grammar="tree_sitter_go:language",
        line_comment="//",
        indentation="\t",
        aliases=("golang",),
        extensions=(".go",),
        carry_on=_BRACES,
    ),
    Language(
        id="rust",
        grammar="tree_sitter_rust:language",
        line_comment="//",
        aliases=("rs",),
        extensions=(".rs",),
        carry_on=_BRACES,
    ),
    Language(
        id="c",
        grammar="tree_sitter_c:language",
        line_comment="//",
        extensions=(".c",),
        carry_on=_BRACES,
    ),
    Language(
        id="cpp",
        grammar="tree_sitter_cpp:language",
        line_comment="//",
        aliases=("c++", "cuda-cpp"),
        # Headers: C ones mostly parse as C++, the reverse seldom holds.
        extensions=(".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".h", ".ipp", ".cu", ".cuh"),
        carry_on=_BRACES,
    ),
    Language(
        id="csharp",
        grammar="tree_sitter_c_sharp:language",
        line_comment="//",
        aliases=("c#", "cs"),
        extensions=(".cs", ".csx"),
        carry_on=_BRACES,
    ),
    Language(
        id="ruby",
        grammar="tree_sitter_ruby:language",
        line_comment="#",
        indentation="  ",
        aliases=("rb",),
        extensions=(".rb", ".rake", ".gemspec", ".ru"),
        file_names=("Rakefile", "Gemfile"),
        carry_on=frozenset({"else", "elsif", "rescue", "ensure", "when", "in"}),
        close=frozenset({"end"}),
    ),
    Language(
        id="php",
        grammar="tree_sitter_php:language_php",
        line_comment="//",
        extensions=(".php", ".phtml"),
        carry_on=_BRACES | {"elseif"},
        close=frozenset({"endif", "endforeach", "endfor", "endwhile", "endswitch"}),
    ),
    Language(
        id="shellscript",
        grammar="tree_sitter_bash:language",
        line_comment="#",
        indentation="  ",
        aliases=("sh", "bash", "zsh", "shell"),
        extensions=(".sh", ".bash", ".zsh", ".ksh", ".bats"),
        file_names=(".bashrc", ".bash_profile", ".profile", ".zshrc"),
        carry_on=frozenset({"elif", "else", "then", "do"}),
        close=frozenset({"fi", "done", "esac", ";;"}),
    ),
    Language(
        id="html",
        grammar="tree_sitter_html:language",
        line_comment="",
        indentation="  ",
        extensions=(".html", ".htm", ".xhtml"),
    ),
    Language(
        id="css",
        grammar="tree_sitter_css:language",
        line_comment="",
        indentation="  ",
        extensions=(".css",),
    ),
    Language(
        id="json",
        grammar="tree_sitter_json:language",
        line_comment="",
        indentation="  ",
        aliases=("jsonc", "jsonl"),
        extensions=(".json", ".jsonc", ".jsonl", ".ipynb", ".geojson", ".webmanifest"),
    ),
    Language(
        id="yaml",
        grammar="tree_sitter_yaml:language",
        line_comment="#",
        indentation="  ",
        aliases=("yml", "dockercompose", "github-actions-workflow"),
        extensions=(".yaml", ".yml"),
    ),
    Language(
        id="toml",
        grammar="tree_sitter_toml:language",
        line_comment="#",
        indentation="  ",
        extensions=(".toml",),
        file_names=("Cargo.lock", "poetry.lock", "uv.lock"),
    ),
    # Known by name, so that the command line can say what a file is; no syntax check.
    Language(id="markdown", grammar="", line_comment="", extensions=(".md", ".markdown")),
    Language(id="kotlin", grammar="", line_comment="//", extensions=(".kt", ".kts")),
    Language(id="swift", grammar="", line_comment="//", extensions=(".swift",)),
    Language(id="scala", grammar="", line_comment="//", extensions=(".scala", ".sbt")),
    Language(id="dart", grammar="", line_comment="//", indentation="  ", extensions=(".dart",)),
    Language(id="scss", grammar="", line_comment="//", indentation="  ", extensions=(".scss",)),
    Language(id="sql", grammar="", line_comment="--", extensions=(".sql",)),
    Language(
        id="lua",
        grammar="",
        line_comment="--",
        extensions=(".lua",),
        carry_on=frozenset({"else", "elseif"}),
        close=frozenset({"end", "until"}),
    ),
    Language(
        id="makefile",
        grammar="",
        line_comment="#",
        indentation="\t",
        extensions=(".mk",),
        file_names=("Makefile", "GNUmakefile", "makefile"),
    ),
    Language(
        id="dockerfile",
        grammar="",
        line_comment="#",
        extensions=(".dockerfile",),
        file_names=("Dockerfile", "Containerfile"),
    ),
)

_UNKNOWN = Language(id="", grammar="", line_comment="")
_BY_ID = {name: language for language in LANGUAGES for name in (language.id, *language.aliases)}
_BY_EXTENSION = {ending: language for language in LANGUAGES for ending in language.extensions}
_BY_FILE_NAME = {name: language for language in LANGUAGES for name in language.file_names}


def language(language_id: str) -> Language:
    """The language behind an editor's id, as VS Code and others spell it; one without traits
    where it is unknown."""
    return _BY_ID.get(language_id.lower(), _UNKNOWN)


def language_id_of(path: str) -> str:
    """The id an editor would give this file by its name; "plaintext" where nothing is known."""
    name = PurePath(path)
    by_ending = _BY_EXTENSION.get(name.suffix.lower(), _UNKNOWN)
    if name.suffix.lower() == ".jsx":
        return "javascriptreact"
    return _BY_FILE_NAME.get(name.name, by_ending).id or "plaintext"


def grammar(language_id: str) -> tree_sitter.Language | None:
    """The grammar, imported at the first call; None where there is none to be had."""
    return _load(language(language_id).grammar)


@cache
def _load(name: str) -> tree_sitter.Language | None:
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        return tree_sitter.Language(getattr(import_module(module), function)())
    except (ImportError, AttributeError, ValueError) as error:
        # Not installed, renamed, or built for another tree-sitter: complete without the check.
        _log.warning("no syntax check with %s: %s", module, error)
        return None
