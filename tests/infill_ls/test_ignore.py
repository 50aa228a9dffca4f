"""Secrets and ignored files are neither completed nor context; code about secrets is."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infill_ls import git_config, git_excludes, ignore
from infill_ls.ignore import IgnorePolicy, ignored, ignored_file, is_ignore_file, look_anew

SECRET = "a file that may hold secrets"


def reason(uri: str, text: str = "", **policy: Any) -> str:
    return ignored(IgnorePolicy(**policy), uri, text)


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of git by whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    look_anew()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_a_file_of_secrets_is_left_alone_whatever_its_uri_looks_like() -> None:
    for path in (".env", "c#/.env", "what?/.env", "proj#1/secrets/db.conf", "notes.md#/.env"):
        assert reason(f"file:///home/u/{path}") == SECRET, path
    for uri in (
        "file:///c%3A/x/.env",
        "file:///C:/x/.ENV",
        "vscode-remote://ssh/home/u/.env",
        "untitled:.env",
        "file:///home/u/%2Eenv",
        "file:///home/u/x/..%2Fsecrets/../secrets/db.yaml",
    ):
        assert reason(uri) == SECRET, uri


@pytest.mark.parametrize(
    "uri",
    [
        "untitled:Untitled-1",
        "vscode-notebook-cell:/home/me/analysis.ipynb#W0sZmlsZQ%3D%3D",
        "vscode-remote://ssh-remote+host/home/me/a.py",
        "file:///",
        "file:///home/",
        "",
        "file:///a%00b",
        "file:///" + "a/" * 150 + "~" * 100_000,
    ],
)
def test_other_documents_are_completed(uri: str) -> None:
    assert reason(uri) == ""


def test_a_path_of_thousands_of_folders_is_no_file() -> None:
    assert reason("file:///" + "a/" * 1_000_000) == "in more than 200 folders"


def test_a_link_to_secrets_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1")
    (tmp_path / "notes.txt").symlink_to(".env")

    assert ignored_file(IgnorePolicy(), str(tmp_path / "notes.txt")) == SECRET


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_to_what_is_ignored_is_ignored(project: Path) -> None:
    (project / ".gitignore").write_text("hidden/\n")
    (project / "link.py").symlink_to("hidden/a.py")
    (project / "folder").symlink_to("hidden")
    (project / "shown.py").symlink_to("a.py")
    why = "ignored by .gitignore: hidden/"

    found = {name: reason((project / name).as_uri()) for name in ("link.py", "folder/b.py")}
    assert found == {"link.py": why, "folder/b.py": why}
    assert reason((project / "shown.py").as_uri()) == ""


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_workspace_behind_a_link_is_ignored_as_the_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "private/clone").mkdir(parents=True)
    (tmp_path / "link").symlink_to("private/clone")
    folders = (str(tmp_path / "link"),)
    for name, why in (("a.py", ""), ("build/a.py", "ignored by disabledFiles: /build/")):
        uri = (tmp_path / "link" / name).as_uri()
        assert reason(uri, disabled_files=("/build/", "private/"), folders=folders) == why


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("*.gen.py", True),
        ("*.{js,py}", True),
        ("{lib,src}/generated", True),
        ("generated", True),
        ("generated/", True),
        ("src/generated/*", True),
        ("/src/", True),
        ("**/generated/*.py", True),
        ("**/src/**/*", True),
        ("src/generated", True),
        ("SRC", True),
        ("{root}/src/**", True),
        ("{root}/other/**", False),
        ("gen", False),
        ("generated/*", False),
        ("", False),
        ("/", False),
        ("[", False),
    ],
)
def test_the_users_patterns_are_those_of_gitignore(
    tmp_path: Path, pattern: str, excluded: bool
) -> None:
    patterns = (pattern.replace("{root}", str(tmp_path)),)
    why = reason(
        (tmp_path / "src/generated/x.gen.py").as_uri(),
        disabled_files=patterns,
        folders=(str(tmp_path),),
    )

    assert bool(why) is excluded
    assert not excluded or why.startswith("ignored by disabledFiles: ")


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("C:/code/**/*.py", "file:///c%3A/code/x/a.py"),
        ("c:/code/", "file:///C:/code/x/a.py"),
        ("~/code/*.py", (Path.home() / "code/a.py").as_uri()),
        ("**/code/*.py", "vscode-remote://ssh/home/u/code/a.py"),
        ("code/", "file:///nowhere/code/x/a.py"),
    ],
)
def test_the_users_patterns_may_be_absolute(pattern: str, uri: str) -> None:
    assert reason(uri, disabled_files=(pattern,)) == f"ignored by disabledFiles: {pattern}"


def test_git_s_own_ignore_files_count(project: Path) -> None:
    (project / ".git/info").mkdir()
    (project / ".git/info/exclude").write_text("mine.py\n")
    (project / ".gitignore").write_text("build/\n*.log.py\n")
    (project / "sub").mkdir()
    (project / "sub/.gitignore").write_text("!keep.log.py\n/local.py\n")
    expected = {
        "build/x.py": "ignored by .gitignore: build/",
        "sub/build/x.py": "ignored by .gitignore: build/",
        "a.log.py": "ignored by .gitignore: *.log.py",
        "sub/a.log.py": "ignored by .gitignore: *.log.py",
        "sub/keep.log.py": "",
        "sub/local.py": "ignored by .gitignore: /local.py",
        "local.py": "",
        "mine.py": "ignored by .git/info/exclude: mine.py",
        "a.py": "",
    }

    assert {path: reason((project / path).as_uri()) for path in expected} == expected


MINE = "{}\npath = .more\n"
MET = (
    *("gitdir:~/clone/", "gitdir:~/clone/.git", "gitdir:~/", "gitdir:clone/.git"),
    *("gitdir:clone/", "gitdir:./clone/", "gitdir:./", "gitdir:**/cl*/.git", "gitdir:~/**/.git"),
    *("gitdir/i:~/CLONE/", "gitdir/i:./Clone/**"),
    *("onbranch:feat/one", "onbranch:feat/", "onbranch:f*/o[mn]e"),
    *("onbranch:**", "onbranch:**/one", "gitdir:~/cl?ne/.git", "gitdir:/**/clone/.git"),
    *("gitdir:*/.git", "gitdir:"),
)
NOT_MET = (
    *("gitdir:~/CLONE/", "gitdir:~/clone", "gitdir:clone", "gitdir:~/other/", "hasconfig:x:y"),
    *("gitdir:./.git", "onbranch:feat", "onbranch:one", "onbranch:FEAT/", "onbranch:*"),
    *("onbranch:", "x:~/clone/", "", "gitdir:~/[clone/"),
)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".config/git/ignore": "one.py\n"}, "one.py"),
        ({"xdg/git/ignore": "three.py\n"}, "three.py"),
        ({".gitconfig": "[core]\n\texcludesfile = ~/mine\n"}, "two.py"),
        ({".gitconfig": '[Core] excludesFile = "~/mi\\\nne" ; that one\n'}, "two.py"),
        ({".gitconfig": '[core "x"]\nexcludesFile = ~/mine\n'}, "one.py"),
        ({".gitconfig": "[user]\nexcludesFile = ~/mine\n[core]\nbare = false\n"}, "one.py"),
        ({".gitconfig": "[core]\nexcludesFile =\n"}, ""),
        ({".config/git/config": "[core]\nexcludesFile = ~/mine\n"}, "two.py"),
        (
            {
                ".config/git/config": "[core]\nexcludesFile = ~/nothing\n",
                ".gitconfig": "[include]\npath = .more\n",
                ".more": "[core]\nexcludesFile = ~/mine # it\n",
            },
            "two.py",
        ),
        ({"clone/.git/config": "[core]\nexcludesFile = own\n"}, "three.py"),
        # of what is included the last one counts too, and it may be included again
        ({".gitconfig": MINE.format("[include]") + "[core]\nexcludesFile = own\n"}, "three.py"),
        (
            {
                ".config/git/config": "[include]\npath = ~/.more\n",
                ".gitconfig": "[core]\nexcludesFile = own\n[Include]\nPath = .more ; again\n",
                ".more": "[core]\nexcludesFile = ~/mine\n",
            },
            "two.py",
        ),
        ({".gitconfig": MINE.format('[include "x"]')}, "one.py"),
        *(({".gitconfig": MINE.format(f'[includeIf "{each}"]')}, "two.py") for each in MET),
        *(({".gitconfig": MINE.format(f'[includeIf "{each}"]')}, "one.py") for each in NOT_MET),
        ({".gitconfig": MINE.format('[INCLUDEIF "gitdir:~/\\clone/"]')}, "two.py"),
        ({".gitconfig": MINE.format("[includeIf]")}, "one.py"),
        (
            {
                ".gitconfig": '[includeIf "gitdir:clone/"]\npath = sub/.one\n',
                "sub/.one": '[includeIf "onbranch:feat/"]\npath = .two\n',
                "sub/.two": "[core]\nexcludesFile = ~/mine\n",
            },
            "two.py",
        ),
        (
            {
                "sub/.one": '[includeIf "gitdir:./clone/"]\npath = .more\n',  # not beside that file
                ".gitconfig": "[include]\npath = sub/.one\n",
                "sub/.more": "[core]\nexcludesFile = ~/mine\n",
            },
            "one.py",
        ),
        (
            {
                "clone/.git/config": "[extensions]\nworktreeConfig\n",
                "clone/.git/config.worktree": "[core]\nexcludesFile = ~/mine\n",
            },
            "two.py",
        ),
        ({"clone/.git/config.worktree": "[core]\nexcludesFile = ~/mine\n"}, "one.py"),
        (
            {
                ".gitconfig": "[include]\npath = .0\n",
                **{f".{at}": f"[include]\npath = .{at + 1}\n" for at in range(9)},
                ".9": "[core]\nexcludesFile = ~/mine\n",
            },
            "two.py",
        ),
    ],
)
def test_what_git_ignores_everywhere_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if "xdg/git/ignore" in files:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", "-b", "feat/one", clone], check=True)
    standing = {".config/git/ignore": "one.py\n", "mine": "two.py\n", "clone/own": "three.py\n"}
    standing[".more"] = "[core]\nexcludesFile = ~/mine\n"
    for name, text in (standing | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / name).open("a") as file:  # git's own configuration stays
            file.write(text)
    names = ["one.py", "two.py", "three.py", "four.py"]
    asked = ["git", "check-ignore", *names]
    said = subprocess.run(asked, cwd=clone, capture_output=True, text=True).stdout.split()

    ours = {name: why for name in names if (why := reason((clone / name).as_uri()))}
    assert list(ours) == said == [expected] * bool(expected)
    assert set(ours.values()) <= {f"ignored by core.excludesFile: {expected}"}


def test_a_work_tree_beside_the_repository_has_its_excludes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    subprocess.run(["git", "init", "-q", main], check=True)
    git = ["git", "-C", main, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    subprocess.run([*git, "worktree", "add", "-q", tree], check=True, capture_output=True)
    (main / ".git/info").mkdir(exist_ok=True)
    (main / ".git/info/exclude").write_text("mine.py\n")
    look_anew()

    assert reason((tree / "mine.py").as_uri()) == "ignored by .git/info/exclude: mine.py"
    assert reason((tree / "other.py").as_uri()) == ""

    # A condition is about where git has it, and about its own branch, which is named as it is.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    (tmp_path / "ignored").write_text("other.py\n")
    (tmp_path / "more").write_text(f"[core]\nexcludesFile = {tmp_path}/ignored\n")
    (tmp_path / "link").symlink_to(main)
    for condition, trees in {
        "gitdir:main/.git/worktrees/tree": [tree],
        "onbranch:tree": [tree],
        "gitdir:./tree/": [],
        "gitdir:./main/": [main, tree, tmp_path / "link"],
        "gitdir:./link/": [tmp_path / "link"],
    }.items():
        (tmp_path / "config").write_text(f'[includeIf "{condition}"]\npath = more\n')
        look_anew()
        for each in (main, tree, tmp_path / "link"):
            asked, env = ["git", "check-ignore", "other.py"], {**os.environ, "PWD": str(each)}
            said = subprocess.run(asked, cwd=each, env=env, capture_output=True).stdout

            assert (each in trees) == bool(said) == bool(reason((each / "other.py").as_uri()))


def test_configurations_that_are_none_cost_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(project / "pipe")  # reading it would wait for ever
    circle = project / "circle"
    circle.write_text("[include]\npath = pipe\npath = circle\n" * 1000)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(circle))
    (project / ".git/config").write_text("[core\n]x\0[core]excludesFile=\\\n" + "[" * 100_000)
    started = time.perf_counter()

    assert reason((project / "a.py").as_uri()) == ""
    assert time.perf_counter() - started < 1.0


def test_files_that_say_what_is_ignored_are_known() -> None:
    said = (".gitignore", "sub/.infillignore", ".git/info/exclude", ".gitignore_global")
    home = (".config/git/ignore", ".config/git/config", ".gitconfig")
    assert all(is_ignore_file(f"/home/me/{path}") for path in (*said, *home))
    assert not any(
        is_ignore_file(f"/home/me/{path}")
        for path in ("gitignore.py", ".gitignore/a.py", ".git/config", ".git/index", "a/ignore")
    )


def test_ignore_files_above_the_repository_do_not_count_but_for_our_own(tmp_path: Path) -> None:
    (tmp_path / "inner/.git").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("/inner/\n")
    (tmp_path / ".infillignore").write_text("generated.py\n")
    folders = (str(tmp_path),)

    assert reason((tmp_path / "inner/a.py").as_uri(), folders=folders) == ""
    assert "infillignore" in reason((tmp_path / "inner/generated.py").as_uri(), folders=folders)
    assert reason((tmp_path / "inner/generated.py").as_uri()) == ""


def test_without_a_repository_those_of_the_workspace_count(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.py\n")
    (tmp_path / "sub").mkdir()
    uri = (tmp_path / "sub/a.py").as_uri()

    assert reason(uri, folders=(str(tmp_path),)) == "ignored by .gitignore: *.py"
    assert reason(uri) == ""


def test_what_says_it_last_has_the_last_word(project: Path) -> None:
    (project / ".gitignore").write_text("*.gen.py\n*.tmp.py\n")
    (project / ".infillignore").write_text("!*.gen.py\nprivate/\n")
    uri = {name: (project / name).as_uri() for name in ("a.gen.py", "a.tmp.py", "private/a.py")}

    assert reason(uri["a.gen.py"]) == ""
    assert reason(uri["a.tmp.py"]) == "ignored by .gitignore: *.tmp.py"
    assert reason(uri["a.tmp.py"], disabled_files=("!a.*",)) == ""
    assert reason(uri["private/a.py"]) == "ignored by .infillignore: private/"


def test_a_changed_ignore_file_is_read_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = str(project / "a.py")
    before = ignored_file(IgnorePolicy(), path)
    (project / ".gitignore").write_text("a.py\n")
    now = 1.0

    assert (before, ignored_file(IgnorePolicy(), path)) == ("", "ignored by .gitignore: a.py")


def test_an_ignore_file_that_is_none_or_too_large_costs_nothing(project: Path) -> None:
    os.mkfifo(project / ".gitignore")  # reading it would wait for ever
    (project / ".infillignore").write_text("x*y*z\n" * 100_000 + "a.py\n")
    started = time.perf_counter()

    assert reason((project / "a.py").as_uri()) == ""
    assert time.perf_counter() - started < 2.0


def test_asking_again_takes_no_time(project: Path) -> None:
    (project / ".gitignore").write_text("\n".join(f"*.{number}" for number in range(300)))
    uri = (project / "a/b/c/d.py").as_uri()
    reason(uri)
    started = time.perf_counter()
    for _ in range(100):
        reason(uri)

    assert time.perf_counter() - started < 0.1


NAMES = st.sampled_from(["a", "b", "ab", "x.py"])
PATTERNS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/", "**/", "a/", "*/"]),
    st.sampled_from(["a", "b", "a*", "*", "*.py", "x.py", "?"]),
    st.sampled_from(["", "/", "/**", "/b"]),
)
FOLDERS = st.sampled_from(["", "a/", "b/", "a/b/", "b/a/"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(FOLDERS, st.lists(PATTERNS, min_size=1, max_size=4), max_size=3),
    st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=8, max_size=16),
)
def test_git_says_the_same_of_nested_files(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, list[str]], paths: list[str]
) -> None:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    for folder, patterns in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / ".gitignore").write_text("\n".join(patterns))
    asked = ["git", "-c", "core.excludesFile=", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(asked, cwd=root, input="\n".join(paths), capture_output=True, text=True)
    # A folder that is there is asked for as a folder by git, and as a file here.
    paths = [path for path in paths if not (root / path).is_dir()]
    policy = IgnorePolicy()

    ours = {path for path in paths if ignored_file(policy, str(root / path))}

    assert ours == set(done.stdout.split("\n")) & set(paths)


def test_too_large_a_file_is_left_alone_and_the_reason_says_so() -> None:
    assert reason("file:///a.py", "a" * 1000, max_file_size=1000) == ""
    assert (
        reason("file:///a.py", "a" * 1001, max_file_size=1000)
        == "larger than maxFileSize (1001 > 1000 characters)"
    )


def test_a_text_with_a_secret_does_not_go_to_a_server() -> None:
    text = "KEY = '''-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEvQIB" * 8

    assert reason("file:///a.py", text) == ""
    assert reason("file:///a.py", text, remote=True) == (
        "it holds what looks like a private key, and the model is not on this machine"
    )


def test_the_caches_are_bounded() -> None:
    for cached in (
        ignore._decided,
        ignore._rules,
        ignore._parsed,
        ignore._disabled,
        git_excludes.exclude_files,
        git_config._entries,
    ):
        assert cached.cache_parameters()["maxsize"] is not None
