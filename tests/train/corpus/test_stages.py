"""From archives to shards."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.train.corpus.samples import BENCHMARK, ORDINARY, SOLUTION
from train import shards, spans
from train.corpus import __main__ as command
from train.corpus import decontaminate
from train.corpus.filter import filter_package
from train.corpus.packages import Package, held_out, is_validation, package_list
from train.corpus.state import files_path


def wheel(path: Path, name: str, files: dict[str, str], licence: str) -> None:
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        facts = (
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/METADATA", facts)
        for file, text in files.items():
            archive.writestr(file, text)


def test_the_command_takes_packages_to_shards(tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = [f"sample-{n}" for n in range(300) if not held_out(f"sample-{n}")]
    trained = next(n for n in names if not is_validation(n))
    validation = next(n for n in names if is_validation(n))
    free, copyleft = names[-2:]
    module = Path(spans.__file__).read_text(encoding="utf-8")
    for name, files, licence in (
        (trained, {"a.py": ORDINARY, "b.py": module, "c.py": SOLUTION}, "MIT"),
        (validation, {"d.py": module}, "BSD-3-Clause"),
        (free, {"e.py": ORDINARY}, "Apache-2.0"),
        (copyleft, {"f.py": ORDINARY + "# another\n"}, "GPL-3.0-only"),
    ):
        wheel(root / "fetch" / "pypi" / name / f"{name}-1.0.whl", name, files, licence)
    listed = tmp_path / "packages.txt"
    listed.write_text("".join(f"pypi {n}\n" for n in (trained, validation, free, copyleft)))
    hashes = tmp_path / "hashes.npz"
    decontaminate.save(BENCHMARK, hashes)
    bpe = tmp_path / "tokenizer.json"

    for package in package_list(listed):
        filter_package(root, package, hashes)
    common = ["--root", str(root), "--packages", str(listed), "--tokenizer", str(bpe)]
    command.main(["dedup", *common])
    command.main(["tokenizer", "--vocabulary", "400", *common])
    command.main(["pack", *common])
    command.main(["carry", *common])
    command.main(["pack", *common])

    packed = sorted(path.name for path in (root / "shards").glob("*.npz"))
    assert packed == ["train-000.npz", "val.npz"]
    counts = json.loads((root / "kept.json").read_text())["counts"]
    assert counts["packages without a permissive licence"] == 1
    assert counts["dropped"] == {"benchmark line run": 1, "exact copy": 2}
    assert counts["kept"]["val python files"] == 1
    assert counts["kept"]["train python files"] == 1
    manifest = (root / "MANIFEST.tsv").read_text()
    assert copyleft not in manifest
    held = shards.load(root / "shards" / "val.npz")
    text = Tokenizer.from_file(str(bpe)).decode(held.tokens.tolist(), skip_special_tokens=False)
    assert text == module
    assert sorted(p.name for p in (root / "carry").iterdir()) == ["train-000.shard", "val.shard"]


def test_carried_shards_are_unpacked_without_tokenizer_and_grammars(tmp_path: Path) -> None:
    shard = shards.shard_of([([50, 51, 52], 0, [(1, 2, 0)])])
    (tmp_path / "carry").mkdir()
    (tmp_path / "carry" / "val.shard").write_bytes(shards.carried(shard))
    unpack = f"""
from train.corpus.__main__ import main
main(["unpack", "--root", {str(tmp_path)!r}])
import sys
assert not {{"tokenizers", "tree_sitter", "torch"}} & sys.modules.keys(), sys.modules.keys()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", unpack], check=True, env=environment)

    assert shards.load(tmp_path / "shards" / "val.npz").tokens.tolist() == [50, 51, 52]


def test_hashing_needs_the_folder_of_the_benchmarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(["hashes", "--root", str(tmp_path)])

    assert "hashes needs --data DIR" in capsys.readouterr().err


def test_filtered_files_are_one_line_of_json_each(tmp_path: Path) -> None:
    package = Package("pypi", "one")
    wheel(tmp_path / "fetch" / "pypi" / "one" / "x.whl", "one", {"a.py": ORDINARY}, "MIT")

    facts = filter_package(tmp_path, package)

    rows = gzip.decompress(files_path(tmp_path, package).read_bytes()).decode().splitlines()
    assert facts["files"] == 1
    assert [json.loads(row)["text"] for row in rows] == [ORDINARY]
