"""What of a workspace is read: sources that people wrote, nothing ignored, nothing secret."""

import os
from pathlib import Path

import pytest

from infill_ls.completion.workspace.files import (
    MAX_CHARACTERS,
    is_found,
    is_source,
    kept_text,
    language_family,
    source_files,
    source_text,
)
from infill_ls.ignore import IgnorePolicy

TOKEN = "ghp_" + "a1B2" * 9


def made(root: Path, files: dict[str, str]) -> IgnorePolicy:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return IgnorePolicy(folders=(str(root),), disabled_files=("*.gen.py",))


def test_sources_are_found_and_nothing_that_is_to_be_left_alone(tmp_path: Path) -> None:
    policy = made(
        tmp_path,
        {
            **dict.fromkeys(("a.py", "sub/deep/b.ts", "sub/c.go"), "x = 1\n"),
            **dict.fromkeys(("README.md", "notes.txt", "picture.png"), "prose\n"),
            **dict.fromkeys(("node_modules/d.js", "env/lib/e.py", ".hidden/f.py"), "x = 1\n"),
            "env/pyvenv.cfg": "home = /usr\n",
            **dict.fromkeys(("build/g.py", "h.gen.py", "secrets/config.yaml"), "x: 1\n"),
            ".gitignore": "build/\n",
            ".infillignore": "sub/deep/private.py\n",
            "sub/deep/private.py": "x = 1\n",
        },
    )
    found = [path for path in source_files([str(tmp_path)], policy) if path]

    assert found == [f"{tmp_path}/{name}" for name in ("a.py", "sub/c.go", "sub/deep/b.ts")]
    assert source_text(f"{tmp_path}/a.py", policy) == "x = 1\n"
    for name in ("build/g.py", "h.gen.py", "secrets/config.yaml", "sub/deep/private.py", "none.py"):
        assert source_text(f"{tmp_path}/{name}", policy) is None, name


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    policy = made(tmp_path, {"sub/a.py": "x = 1\n"})
    (tmp_path / "sub" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "hidden.py").symlink_to(tmp_path / ".env")
    (tmp_path / ".env").write_text("KEY=1\n")

    found = [path for path in source_files([str(tmp_path)], policy) if path]
    assert found == [f"{tmp_path}/sub/a.py"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_path_by_itself_is_held_to_the_same_rules(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "o.py"
    outside.write_text("x = 1\n")
    names = ("a.py", "sub/b.py", "priv/c.py", "node_modules/d/e.py", ".cache/f.py", ".g.py",
             "venv/lib/h.py", "secrets/i.py", "sub/.hidden/j.py")  # fmt: skip
    policy = made(
        tmp_path,
        {**dict.fromkeys(names, "x = 1\n"), "venv/pyvenv.cfg": "", ".gitignore": "priv/\nl2.py\n"},
    )
    links = {"l1.py": "sub/b.py", "l2.py": "a.py", "l3.py": "priv/c.py", "l4.py": str(outside),
             "l5.py": "node_modules/d/e.py", "l6.py": "venv/lib/h.py", "sub/l7.py": "../l3.py",
             "l8.py": "nothing.py", "l9": "sub", "l10.py": ".cache/f.py"}  # fmt: skip
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    folders = [f"{tmp_path}/"]
    every = [*names, *links, "l9/b.py", "../x.py", "sub/../a.py", "sub/../../o/o.py"]

    walked = {path for path in source_files(folders, policy) if path}
    found = {path for path in (f"{tmp_path}/{name}" for name in every)
             if is_found(path, folders, policy) and os.path.isfile(path)}  # fmt: skip
    assert (
        walked == found == {f"{tmp_path}/{name}" for name in ("a.py", "sub/b.py", ".g.py", "l1.py")}
    )
    assert not is_found(str(outside), folders, policy)


def test_a_hidden_folder_that_is_opened_is_looked_into(tmp_path: Path) -> None:
    policy = made(tmp_path, {".config/app/a.py": "x = 1\n"})
    folders = [str(tmp_path), f"{tmp_path}/.config/app"]
    path = f"{folders[1]}/a.py"

    assert [each for each in source_files(folders, policy) if each] == [path]
    assert is_found(path, folders, policy)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_workspace_behind_a_link_is_read(tmp_path: Path) -> None:
    made(tmp_path, {"it/a.py": "x = 1\n"})
    (tmp_path / "link").symlink_to("it")
    (tmp_path / "it/b.py").symlink_to("a.py")
    folders = [f"{tmp_path}/link"]
    policy = IgnorePolicy(folders=tuple(folders))
    paths = [f"{folders[0]}/{name}" for name in ("a.py", "b.py")]

    assert [each for each in source_files(folders, policy) if each] == paths
    assert all(is_found(path, folders, policy) for path in paths)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_nobody_waits_for_what_is_no_file(tmp_path: Path) -> None:
    policy = made(tmp_path, {"a.py": "x = 1\n"})
    os.mkfifo(tmp_path / "pipe.py")

    assert [path for path in source_files([str(tmp_path)], policy) if path] == [f"{tmp_path}/a.py"]
    assert source_text(f"{tmp_path}/pipe.py", policy) is None


def test_whoever_reads_can_stop_where_there_are_no_sources(tmp_path: Path) -> None:
    policy = made(tmp_path, {f"{number}/data.bin": "" for number in range(20)})

    assert list(source_files([str(tmp_path)], policy)) == [""] * 21


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a = 1\r\nb = 2\r", "a = 1\nb = 2\n"),
        (f'token = "{TOKEN}"\n', None),
        ("x" * MAX_CHARACTERS + "\n", None),
        ("a();" * 500, None),  # one line that nobody wrote
        ("a\0b", None),
        ("", ""),
    ],
)
def test_texts_are_those_that_people_write(text: str, kept: str | None) -> None:
    assert kept_text(text) == kept


def test_what_is_no_utf_8_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = '\xff'\n")

    assert source_text(f"{tmp_path}/a.py", IgnorePolicy()) is None


def test_languages_that_are_of_use_to_one_another() -> None:
    assert language_family("typescriptreact") == language_family("javascript")
    assert language_family("c") == language_family("cpp") != language_family("python")
    assert is_source("/a/b.py")
    assert not is_source("/a/b.md")
