"""Patterns mean what git says they mean: git itself is asked."""

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infill_ls.gitignore import PatternError, deciding, rule_of, rules_of

NAMES = st.sampled_from(
    ["a", "b", "ab", "foo", "x.py", "a]b", "a-b", "aab", "Foo", " c", "#d", "!e"]
)
GLOBS = st.sampled_from(
    [
        *("a", "b", "foo", "x.py", "*", "**", "*.py", "f*", "*o", "*o*", "?", "??", "f?o"),
        *("[ab]", "[!a]", "[^a]", "[a-f]*", "[]a]*", "[b-a]", "[[:alpha:]]", "a[]]b", "[", "[a"),
        *("a[-]b", "a[!a-z]b", "[[:nonsense:]]", "\\a", "a\\]b", "\\#d", "\\!e", "#d", "a\\"),
        *(" c", "c ", "\\ c", "[a\\]b]", "*a*b*", "a*b**", "[[:upper:]]*"),
    ]
)
PATTERNS = st.builds(
    lambda negated, rooted, parts, end: negated + rooted + "/".join(parts) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/", "**/"]),
    st.lists(GLOBS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "/**", "/*", " ", "\\ ", "\r"]),
)
WILD = st.text("ab*?[]!^\\\\/-:x. ", min_size=1, max_size=12)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def git_ignores(repository: Path, paths: list[str]) -> set[str]:
    """Of these paths, which need not exist, those that git ignores."""
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=repository,
        input="\0".join(f"./{path}" for path in paths),
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    return {path.removeprefix("./") for path in done.stdout.split("\0") if path}


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PATTERNS | WILD, min_size=1, max_size=5), st.lists(PATHS, min_size=8, max_size=20))
def test_git_says_the_same(repository: Path, patterns: list[str], paths: list[str]) -> None:
    (repository / ".gitignore").write_text("\n".join(patterns) + "\n", newline="")
    rules = list(rules_of(patterns, base="/r/", source="", fold=False))

    ours = {path for path in paths if deciding(rules, f"/r/{path}")}

    assert ours == git_ignores(repository, paths)


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("**/foo/**/*", "x/foo/y/z.py", True),
        ("foo/bar", "foo/bar/baz.py", True),
        ("foo/bar", "x/foo/bar", False),
        ("build/", "src/build/x.py", True),
        ("build/", "src/build", False),
        ("SRC", "src/a.py", False),
        ("[b-:]", "b", True),  # of a range that runs backwards the first character alone
        ("[b-:]", ":", False),
        ("[!b-:]", "b", False),
    ],
)
def test_a_pattern_is_relative_to_its_folder(pattern: str, path: str, ignored: bool) -> None:
    rules = list(rules_of([pattern], base="/r/", source="", fold=False))

    assert bool(deciding(rules, f"/r/{path}")) is ignored
    assert deciding(rules, f"/elsewhere/{path}") is None


def test_upper_case_is_lower_where_the_file_system_says_so() -> None:
    rules = list(rules_of(["SRC"], base="/r/", source="", fold=True))

    assert deciding(rules, "/r/src/a.py")


def test_the_rule_that_decides_says_where_it_stands() -> None:
    rules = list(rules_of(["*.py", "!a.py", "b/"], base="/r/", source=".gitignore", fold=False))
    rule = deciding(rules, "/r/b/a.py")

    assert rule
    assert (rule.source, rule.text) == (".gitignore", "b/")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("[a", "its [ is not closed"),
        ("a\\", "it ends in a backslash"),
        ("/", "it names nothing"),
        ("!", "it names nothing"),
        ("[[:letter:]]", "[:letter:] is no class of characters"),
    ],
)
def test_a_pattern_that_no_path_can_meet_says_why(pattern: str, why: str) -> None:
    with pytest.raises(PatternError) as error:
        rule_of(pattern)

    assert why in str(error.value)


@pytest.mark.parametrize(
    "pattern", ["*a" * 40 + "*b", "/".join(["**/a"] * 20) + "/b", "[^b]*" * 40]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    rule = rule_of(pattern)
    started = time.perf_counter()

    assert rule
    assert not rule.meets("/" + "a" * 250) or "^" in pattern
    assert not rule.meets("/" + "a/" * 100 + "c") or "^" in pattern
    assert time.perf_counter() - started < 0.5
