"""What `make release` decides without building anything; building and checking it does itself."""

import hashlib
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from release import build
from release.build import ReleaseError, is_in_changelog, plugin_archive, run, version, write_sums
from release.check import check_extension, check_sums

import infill_ls


def test_every_part_has_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version() == infill_ls.__version__
    monkeypatch.setattr(infill_ls, "__version__", "9.9")
    with pytest.raises(ReleaseError, match=r"9\.9 in infill_ls/__init__\.py, .* Make them one"):
        version()


def test_a_final_release_has_a_section_with_a_date() -> None:
    assert is_in_changelog("0.2.0", "# Changelog\n\n## [0.2.0] - 2027-01-31\n")
    assert not is_in_changelog("0.2.0", "## [Unreleased]\n## [0.2.0]\n## [0x2y0] - 2027-01-31\n")


def test_the_plugin_is_a_package_and_the_same_every_time() -> None:
    packed = plugin_archive()
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        names = archive.getnames()

    assert packed == plugin_archive()
    assert {"infill_ls/plugin/infill_ls.lua", "infill_ls/doc/infill_ls.txt"} <= set(names)
    assert {"infill_ls/LICENSE", "infill_ls/README.md"} <= set(names)
    assert len(names) == len(set(names))
    assert all(name.startswith("infill_ls/") for name in names)


def test_sums_are_those_of_the_files(tmp_path: Path) -> None:
    files = [tmp_path / "b", tmp_path / "a"]
    for path in files:
        path.write_bytes(path.name.encode())
    sums = write_sums(files)

    first = f"{hashlib.sha256(b'a').hexdigest()}  a"
    assert sums.read_text().splitlines()[0] == first
    assert check_sums(sums) == "2 files"
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(ReleaseError, match="a is not what SHA256SUMS says"):
        check_sums(sums)


def test_an_earlier_release_goes_once_there_is_another_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "release"
    old = ["infill_ls-0.1.0.tar.gz", "infill_ls-0.1.0-py3-none-any.whl", "infill-ls-0.1.0.vsix"]
    others = ["notes.txt", "other-1.0.tar.gz", "sub/infill-ls-0.1.0.vsix"]
    for name in [*old, "SHA256SUMS", *others]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()

    def files() -> list[str]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(folder)) for path in found)

    before = files()
    monkeypatch.setattr(build, "version", lambda: (_ for _ in ()).throw(ReleaseError("differ")))
    with pytest.raises(ReleaseError, match="differ"):
        build.build(folder)
    assert files() == before
    with pytest.raises(ReleaseError, match=r"cannot be built into: .*notes\.txt"):
        build.build(folder / "notes.txt")

    (tmp_path / "infill_ls-0.2.0.tar.gz").touch()
    made = build.moved([tmp_path / "infill_ls-0.2.0.tar.gz"], folder)
    assert made == [folder / "infill_ls-0.2.0.tar.gz"]
    assert files() == sorted([*others, "infill_ls-0.2.0.tar.gz"])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"package.json": '{"version": "1", "main": "./m.js"}', "m.js": ""}, ""),
        ({"package.json": '{"version": "2", "main": "./m.js"}', "m.js": ""}, "is version 2, has"),
        ({"package.json": '{"version": "1", "main": "./m.js"}'}, "lacks extension/m.js"),
        (
            {"package.json": '{"version": "1", "main": "./m.js"}', "m.js": "", "a.ts": ""},
            r"holds \['extension/a.ts'\]",
        ),
    ],
)
def test_an_extension_is_whole_and_nothing_more(
    tmp_path: Path, files: dict[str, str], says: str
) -> None:
    path = tmp_path / "x.vsix"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"extension/{name}", text)
    if not says:
        assert check_extension(path, "1").startswith("2 files")
        return
    with pytest.raises(ReleaseError, match=says):
        check_extension(path, "1")


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(ReleaseError, match=r"(?s)git rev-parse nothing ended with 128:.*fatal"):
        run("git", "rev-parse", "nothing")
    with pytest.raises(ReleaseError, match="cannot be started"):
        run("./no-such-program")
    assert build.ROOT.joinpath(".ci", "release").is_dir()
