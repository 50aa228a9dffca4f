"""What the server knows about languages, as one table. Grammars are imported when first needed.

A language that is not in the table, or whose grammar is not installed, is completed all the same,
only without the syntax check.
"""

import re
from functools import lru_cache
from pathlib import PurePath

from infill_ls.syntax.lexed_languages import LEXED_LANGUAGES
from infill_ls.syntax.traits import Language

__all__ = ["LANGUAGES", "Language", "language_id_of", "language_of"]

_C, _MARKUP = ("/*", "*/"), ("<!--", "-->")
_BRACES = frozenset({"else", "catch", "finally", "while", "case", "default"})
_TAGS = frozenset({"else", "elif", "elsif", "elseif", "empty", "when", "plural"})
_CLAUSES = ("from", "where", "and", "or", "group", "order", "having", "join", "left", "on", "set")
_TEMPLATE = (("`", "${"),)
_PLAIN, _SCRIPT = ('"', "'"), ('"', "'", "`")
_PYTHON = ('"""', "'''", '"', "'")

LANGUAGES: tuple[Language, ...] = (
    Language(
        id="python",
        grammar_function="tree_sitter_python:language",
        line_comment="#",
        quotes=_PYTHON,
        aliases=("py", "python3"),
        extensions=(".py", ".pyi", ".pyw"),
        carry_on=frozenset({"elif", "else", "except", "finally", "case"}),
    ),
    Language(
        id="javascript",
        grammar_function="tree_sitter_javascript:language",
        line_comment="//",
        comment=_C,
        quotes=_SCRIPT,
        indentation="  ",
        tags="jsx",
        aliases=("js",),
        extensions=(".js", ".mjs", ".cjs"),
        carry_on=_BRACES,
        interpolation=_TEMPLATE,
        regexes=True,
    ),
    Language(
        id="javascriptreact",
        grammar_function="tree_sitter_javascript:language",
        line_comment="//",
        comment=_C,
        quotes=_SCRIPT,
        tags="jsx",
        indentation="  ",
        aliases=("jsx",),
        extensions=(".jsx",),
        carry_on=_BRACES,
        interpolation=_TEMPLATE,
        regexes=True,
    ),
    Language(
        id="typescript",
        grammar_function="tree_sitter_typescript:language_typescript",
        line_comment="//",
        comment=_C,
        quotes=_SCRIPT,
        indentation="  ",
        aliases=("ts",),
        extensions=(".ts", ".mts", ".cts"),
        carry_on=_BRACES,
        interpolation=_TEMPLATE,
        regexes=True,
    ),
    Language(
        id="typescriptreact",
        grammar_function="tree_sitter_typescript:language_tsx",
        line_comment="//",
        comment=_C,
        quotes=_SCRIPT,
        tags="jsx",
        indentation="  ",
        aliases=("tsx",),
        extensions=(".tsx",),
        carry_on=_BRACES,
        interpolation=_TEMPLATE,
        regexes=True,
    ),
    Language(
        id="java",
        grammar_function="tree_sitter_java:language",
        line_comment="//",
        comment=_C,
        quotes=('"""', '"'),
        extensions=(".java",),
        carry_on=_BRACES,
    ),
    Language(
        id="go",
        grammar_function="tree_sitter_go:language",
        line_comment="//",
        comment=_C,
        quotes=('"', "`"),
        indentation="\t",
        aliases=("golang",),
        extensions=(".go",),
        carry_on=_BRACES,
    ),
    Language(
        id="rust",
        grammar_function="tree_sitter_rust:language",
        line_comment="//",
        comment=_C,
        long_strings=True,
        aliases=("rs",),
        extensions=(".rs",),
        carry_on=_BRACES,
        nested_comments=True,
    ),
    Language(
        id="c",
        grammar_function="tree_sitter_c:language",
        line_comment="//",
        comment=_C,
        extensions=(".c",),
        carry_on=_BRACES,
    ),
    Language(
        id="cpp",
        grammar_function="tree_sitter_cpp:language",
        line_comment="//",
        comment=_C,
        aliases=("c++", "cuda-cpp"),
        # Headers: C ones mostly parse as C++, the reverse seldom holds.
        extensions=(".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".h", ".ipp", ".cu", ".cuh"),
        carry_on=_BRACES,
    ),
    Language(
        id="csharp",
        grammar_function="tree_sitter_c_sharp:language",
        line_comment="//",
        comment=_C,
        quotes=('"""', '"'),
        aliases=("c#", "cs"),
        extensions=(".cs", ".csx"),
        carry_on=_BRACES,
    ),
    Language(
        id="ruby",
        grammar_function="tree_sitter_ruby:language",
        line_comment="#",
        comment=("=begin", "=end"),
        quotes=_SCRIPT,
        long_strings=True,
        indentation="  ",
        aliases=("rb",),
        extensions=(".rb", ".rake", ".gemspec", ".ru"),
        file_names=("Rakefile", "Gemfile"),
        carry_on=frozenset({"else", "elsif", "rescue", "ensure", "when", "in"}),
        close=frozenset({"end"}),
        interpolation=(('"', "#{"), ("`", "#{")),
        regexes=True,
    ),
    Language(
        id="php",
        grammar_function="tree_sitter_php:language_php",
        line_comment="//",
        comment=_C,
        quotes=_SCRIPT,
        long_strings=True,
        interpolation=(('"', "{$"), ('"', "${")),
        extensions=(".php", ".phtml"),
        carry_on=_BRACES | {"elseif"},
        close=frozenset({"endif", "endforeach", "endfor", "endwhile", "endswitch"}),
    ),
    Language(
        id="shellscript",
        grammar_function="tree_sitter_bash:language",
        line_comment="#",
        spaced=True,
        quotes=_SCRIPT,
        long_strings=True,
        indentation="  ",
        aliases=("sh", "bash", "zsh", "shell"),
        extensions=(".sh", ".bash", ".zsh", ".ksh", ".bats"),
        file_names=(".bashrc", ".bash_profile", ".profile", ".zshrc"),
        carry_on=frozenset({"elif", "else", "then", "do"}),
        close=frozenset({"fi", "done", "esac", ";;"}),
        interpolation=(('"', "$("), ('"', "${")),
    ),
    Language(
        id="html",
        grammar_function="tree_sitter_html:language",
        comment=_MARKUP,
        quotes=(),
        long_strings=True,
        characters=False,
        interpolation=tuple((quote, begins) for quote in _PLAIN for begins in ("{{", "{%")),
        tags="html",
        embeds="scripts",
        indentation="  ",
        extensions=(".html", ".htm", ".xhtml"),
    ),
    Language(
        id="css",
        grammar_function="tree_sitter_css:language",
        comment=_C,
        quotes=_PLAIN,
        indentation="  ",
        extensions=(".css",),
    ),
    Language(
        id="json",
        grammar_function="tree_sitter_json:language",
        indentation="  ",
        aliases=("jsonl",),
        extensions=(".json", ".jsonl", ".ipynb", ".geojson", ".webmanifest"),
    ),
    Language(
        id="jsonc",  # with comments, and commas behind the last
        grammar_function="tree_sitter_json:language",
        line_comment="//",
        comment=_C,
        indentation="  ",
        aliases=("json5", "jsonwithcomments", "json with comments"),
        extensions=(".jsonc", ".json5", ".code-workspace"),
        file_names=(".babelrc", ".eslintrc", ".eslintrc.json", ".jshintrc", ".swcrc"),
    ),
    Language(
        id="yaml",
        grammar_function="tree_sitter_yaml:language",
        line_comment="#",
        spaced=True,
        quotes=(),
        characters=False,
        indentation="  ",
        aliases=("yml", "dockercompose", "github-actions-workflow"),
        extensions=(".yaml", ".yml"),
    ),
    Language(
        id="toml",
        grammar_function="tree_sitter_toml:language",
        line_comment="#",
        quotes=_PYTHON,
        indentation="  ",
        extensions=(".toml",),
        file_names=("Cargo.lock", "poetry.lock", "uv.lock"),
    ),
    Language(
        id="kotlin",
        grammar_function="tree_sitter_kotlin:language",
        line_comment="//",
        comment=_C,
        quotes=('"""', '"'),
        strictness="lenient",
        extensions=(".kt", ".kts"),
        carry_on=_BRACES,
        nested_comments=True,
        interpolation=(('"', "${"), ('"""', "${")),
    ),
    Language(
        id="swift",
        grammar_function="tree_sitter_swift:language",
        line_comment="//",
        comment=_C,
        quotes=('"""', '"'),
        characters=False,
        extensions=(".swift",),
        carry_on=_BRACES,
        nested_comments=True,
        interpolation=(('"', "\\("), ('"""', "\\(")),
    ),
    Language(
        id="scala",
        grammar_function="tree_sitter_scala:language",
        line_comment="//",
        comment=_C,
        quotes=('"""', '"'),
        indentation="  ",
        extensions=(".scala", ".sbt", ".sc"),
        carry_on=_BRACES | {"yield", "then", "do"},
        close=frozenset({"end"}),
        nested_comments=True,
    ),
    Language(
        id="dart",
        grammar_function="tree_sitter_dart:language",
        line_comment="//",
        comment=_C,
        quotes=_PYTHON,
        indentation="  ",
        extensions=(".dart",),
        carry_on=_BRACES | {"on"},
        nested_comments=True,
        interpolation=tuple((quote, "${") for quote in _PYTHON),
    ),
    Language(
        id="lua",
        grammar_function="tree_sitter_lua:language",
        line_comment="--",
        comment=("--[[", "]]"),
        quotes=_PLAIN,
        extensions=(".lua",),
        carry_on=frozenset({"else", "elseif"}),
        close=frozenset({"end", "until"}),
    ),
    Language(
        id="sql",
        grammar_function="tree_sitter_sql:language",
        line_comment="--",
        comment=_C,
        quotes=_PLAIN,
        embeds="bodies",
        strictness="partial",
        long_strings=True,
        aliases=("mysql", "pgsql", "postgres", "plsql", "sqlite", "tsql"),
        extensions=(".sql", ".ddl", ".dml", ".pgsql"),
        carry_on=frozenset({*_CLAUSES, *(each.upper() for each in _CLAUSES)}),
        close=frozenset({"end", "END"}),
    ),
    Language(
        id="makefile",
        grammar_function="tree_sitter_make:language",
        line_comment="#",
        spaced=True,
        quotes=_PLAIN,
        strictness="lenient",
        indentation="\t",
        aliases=("make", "automake"),
        extensions=(".mk", ".mak", ".make"),
        file_names=("Makefile", "GNUmakefile", "makefile"),
        carry_on=frozenset({"else"}),
        close=frozenset({"endif", "endef"}),
    ),
    Language(
        id="dockerfile",
        grammar_function="tree_sitter_containerfile:language",
        line_comment="#",
        spaced=True,
        quotes=_PLAIN,
        strictness="partial",
        aliases=("docker", "containerfile"),
        extensions=(".dockerfile", ".containerfile"),
        file_names=("Dockerfile", "Containerfile"),
    ),
    Language(
        id="vue",
        grammar_function="tree_sitter_html:language",
        comment=_MARKUP,
        quotes=(),
        long_strings=True,
        characters=False,
        tags="html",
        embeds="scripts",
        templates="expressions",
        strictness="lenient",
        indentation="  ",
        extensions=(".vue",),
    ),
    Language(
        id="svelte",
        grammar_function="tree_sitter_svelte:language",
        comment=_MARKUP,
        quotes=(),
        long_strings=True,
        characters=False,
        interpolation=tuple((quote, begins) for quote in _PLAIN for begins in ("{",)),
        tags="html",
        embeds="scripts",
        strictness="lenient",
        indentation="  ",
        extensions=(".svelte",),
        carry_on=frozenset({"else", "then", "catch"}),
    ),
    Language(
        id="htmldjango",
        grammar_function="tree_sitter_html:language",
        comment=("{#", "#}"),
        quotes=(),
        long_strings=True,
        characters=False,
        interpolation=tuple((quote, begins) for quote in _PLAIN for begins in ("{{", "{%")),
        tags="html",
        strictness="lenient",
        templates="tags",
        indentation="  ",
        aliases=("django-html", "jinja-html", "html+jinja", "twig", "liquid", "nunjucks", "njk"),
        extensions=(".djhtml", ".twig", ".liquid", ".njk"),
        carry_on=_TAGS,
    ),
    # Whose grammar is not to be had, or would not help: only brackets and quotes are looked at.
    Language(
        id="markdown",
        quotes=(),
        characters=False,
        prose=True,
        embeds="fences",
        aliases=("mdx", "rmd", "quarto"),
        extensions=(".md", ".markdown", ".mdx", ".rmd", ".qmd"),
    ),
    Language(id="plaintext", quotes=(), characters=False, prose=True, extensions=(".txt",)),
    Language(
        id="jinja",  # of whatever language
        comment=("{#", "#}"),
        quotes=(),
        characters=False,
        templates="tags",
        indentation="  ",
        aliases=("jinja2", "jinja-yaml", "jinja-json", "jinja-sql", "jinja-md", "django-txt"),
        extensions=(".jinja", ".jinja2", ".j2"),
        carry_on=_TAGS,
    ),
    Language(
        id="scss",
        line_comment="//",
        comment=_C,
        quotes=_PLAIN,
        indentation="  ",
        aliases=("less",),
        extensions=(".scss", ".less"),
    ),
    *LEXED_LANGUAGES,
)

_BY_ID = {name: language for language in LANGUAGES for name in (language.id, *language.aliases)}
_BY_EXTENSION = {ending: language for language in LANGUAGES for ending in language.extensions}
_BY_FILE_NAME = {name: language for language in LANGUAGES for name in language.file_names}

_TS = re.compile(r"[jt]sconfig\b")  # tsconfig.json and tsconfig.build.json
_COMMENTED_JSON = frozenset({".vscode", ".devcontainer"})


@lru_cache(maxsize=256)
def language_of(language_id: str) -> Language:
    """The language behind an editor's id, as VS Code and others spell it; where it is unknown one
    of that id without traits. One object for an id, found by the first document that has it."""
    name = language_id.lower()
    return _BY_ID.get(name) or Language(id=name, characters=False)


def is_known(language_id: str) -> bool:
    """Whether an id is one of a language here, or what editors call no language."""
    return language_id.lower() in _BY_ID or language_id == "plaintext"


def language_id_of(path: str) -> str:
    """The id an editor would give this file by its name; "plaintext" where nothing is known."""
    name = PurePath(path)
    known = _BY_FILE_NAME.get(name.name) or _BY_EXTENSION.get(name.suffix.lower())
    if name.suffix == ".json" and (_TS.match(name.name) or name.parent.name in _COMMENTED_JSON):
        return "jsonc"
    return known.id if known else "plaintext"
