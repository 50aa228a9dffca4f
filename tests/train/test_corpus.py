"""What the corpus takes, what it leaves out, and what is packed of it."""

import gzip
import io
import json
import random
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from train import corpus, decontaminate, licences, shards, spans, tokenizer

SOLUTION = '''from typing import List


def nearby_pairs(numbers: List[float], threshold: float) -> bool:
    """ Check whether any two of the given numbers lie nearer than the threshold.
    >>> nearby_pairs([1.0, 2.8, 3.0, 4.0, 5.0, 2.0], 0.3)
    True
    """
    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2:
                distance = abs(elem - elem2)
                if distance < threshold:
                    return True
    return False
'''
BENCHMARK = decontaminate.benchmark_of([SOLUTION])
ORDINARY = '''"""Read and write settings files."""

import json
from pathlib import Path


def read_settings(path: Path) -> dict[str, object]:
    """The settings that a file holds, with the defaults for what it leaves out."""
    with path.open(encoding="utf-8") as file:
        settings = json.load(file)
    settings.setdefault("colour", "auto")
    settings.setdefault("workers", 4)
    return settings


def write_settings(path: Path, settings: dict[str, object]) -> None:
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
'''


def reason(text: str, path: str = "package/module.py", index: str = "pypi") -> str:
    """Why a file is left out, or '' when it is kept."""
    return corpus.filtered(path, text.encode(), index, BENCHMARK)[1]


# names


def test_packages_by_hash_and_by_name_are_held_out() -> None:
    by_hash = [n for n in map(str, range(400)) if corpus.first_byte(n) < 13]

    assert by_hash
    assert all(corpus.held_out(n) for n in by_hash)
    assert all(
        corpus.held_out(n) for n in ("More_Itertools", "networkx", "human-eval-x", "evalplus")
    )
    assert not corpus.held_out("requests")


def test_names_are_compared_as_the_index_does() -> None:
    assert corpus.first_byte("Foo.Bar__baz") == corpus.first_byte("foo-bar-baz")


def test_validation_packages_are_neither_held_out_nor_trained_on() -> None:
    names = [str(n) for n in range(2000)]
    validation = [n for n in names if corpus.is_validation(n)]

    assert 0.01 < len(validation) / len(names) < 0.05
    assert not any(corpus.held_out(n) for n in validation)


def test_the_shipped_list_holds_no_held_out_package() -> None:
    lines = corpus.PACKAGES.read_text(encoding="utf-8").splitlines()
    listed = [line.split() for line in lines if not line.startswith("#")]
    kept = corpus.package_list(corpus.PACKAGES)

    assert len(listed) > 1000
    assert not any(corpus.held_out(name) for _, name in kept)


# licences


@pytest.mark.parametrize(
    ("expression", "text", "classifiers", "licence"),
    [
        ("MIT", None, [], "MIT"),
        ("MIT OR Apache-2.0", None, [], "MIT OR Apache-2.0"),
        ("BSD-3-Clause OR GPL-2.0-or-later", None, [], None),
        ("MPL-2.0", None, [], None),
        (None, "BSD", ["License :: OSI Approved :: BSD License"], "BSD"),
        (None, "BSD or GPL", ["License :: OSI Approved :: BSD License"], None),
        (
            None,
            "",
            [
                "License :: OSI Approved :: BSD License",
                "License :: OSI Approved :: GNU General Public License (GPL)",
            ],
            None,
        ),
        (None, "Apache License, Version 2.0", [], "Apache-2.0"),
        (None, "Permission is hereby granted, free of charge, to any person", [], "MIT"),
        (None, "Proprietary", [], None),
        (None, "(AFL-2.1 OR BSD-3-Clause)", [], "(AFL-2.1 OR BSD-3-Clause)"),
        (None, "AFL-2.1 AND BSD-3-Clause", [], None),
        (None, "(MIT OR GPL-3.0)", [], None),
        (None, None, [], None),
    ],
)
def test_only_permissive_packages_are_taken(
    expression: str | None, text: str | None, classifiers: list[str], licence: str | None
) -> None:
    assert licences.licence_of(expression, text, classifiers)[0] == licence


@pytest.mark.parametrize(
    "header",
    [
        "# This program is free software under the terms of the GNU General Public License\n",
        "# SPDX-License-Identifier: LGPL-2.1-or-later\n",
        "# Licensed under the GPLv3, see COPYING\n",
        "# This Source Code Form is subject to the terms of the Mozilla Public License\n",
        "# Confidential and proprietary information of Example Ltd.\n",
    ],
)
def test_a_restricted_header_drops_the_file(header: str) -> None:
    assert reason(header + ORDINARY) == "header licence"


def test_a_permissive_header_keeps_the_file() -> None:
    assert reason("# SPDX-License-Identifier: Apache-2.0\n" + ORDINARY) == ""
    assert reason("# Copyright. All rights reserved. BSD License, see LICENSE.\n" + ORDINARY) == ""


# quality


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (ORDINARY, "package/_vendor/module.py", "vendored"),
        (ORDINARY, "package/more_itertools/recipes.py", "held-out module"),
        (ORDINARY, "package/thing_pb2.py", "generated"),
        ("# Generated by the protocol compiler. DO NOT EDIT!\n" + ORDINARY, "a.py", "generated"),
        (ORDINARY + "def broken(:\n", "a.py", "syntax"),
        ("x = 1\n", "a.py", "size"),
        (ORDINARY + "NAMES = '" + "a, b" * 400 + "'\n", "a.py", "long lines"),
        (ORDINARY + "T = f(\n" + '    "quite a lot of text",\n' * 200 + ")\n", "a.py", "literals"),
        (
            ORDINARY + "T = [\n" + "    123456, 234567, 34567890,\n" * 99 + "]\n",
            "a.py",
            "data table",
        ),
        (ORDINARY.replace("colour", "MBPP"), "a.py", "benchmark mark"),
    ],
)
def test_what_is_left_out(text: str, path: str, expected: str) -> None:
    assert reason(text, path) == expected


def test_an_ordinary_file_is_kept() -> None:
    assert reason(ORDINARY) == ""


def test_compiled_scripts_are_left_out_and_source_is_kept() -> None:
    source = "export function add(first, second) {\n  return first + second;\n}\n" * 5
    compiled = 'Object.defineProperty(exports, "__esModule", { value: true });\n' + source

    assert reason(source, "src/add.js", "npm") == ""
    assert reason(compiled, "lib/add.js", "npm") == "generated"
    assert reason(source, "dist/add.js", "npm") == "generated"
    assert reason(source, "package/static/add.js", "pypi") == "foreign scripts in a wheel"


def test_secrets_and_addresses_are_scrubbed() -> None:
    key = "AKIA" + "ABCDEFGHIJ234567"
    token = "ghp_" + "a1B2" * 9
    text = ORDINARY + f'KEY = "{key}"\nTOKEN = "{token}"\nWHO = "jo.doe@mail.invalid.org"\n'
    document, _ = corpus.filtered("a.py", text.encode(), "pypi", BENCHMARK)

    assert document is not None
    assert key not in document.text
    assert token not in document.text
    assert "jo.doe" not in document.text
    assert "user@example.com" in document.text


def test_a_private_key_drops_the_file() -> None:
    begin = "-----BEGIN RSA " + "PRIVATE KEY-----"

    assert reason(ORDINARY + f'PEM = """{begin}\n"""\n') == "private key"


# decontamination


def test_a_planted_benchmark_function_is_caught() -> None:
    assert reason(ORDINARY + SOLUTION) == "benchmark line run"


def test_a_part_of_a_planted_function_is_seen_by_its_ten_grams() -> None:
    body = SOLUTION[SOLUTION.index("    for idx") :]
    shared, _ = corpus.filtered(
        "a.py", (ORDINARY + "def f(numbers, threshold):\n" + body).encode(), "pypi", BENCHMARK
    )

    assert shared is not None
    assert shared.grams


def test_a_planted_window_is_caught_when_its_lines_are_folded() -> None:
    folded = SOLUTION.replace("\n    ", " ").replace("\n                ", " ")
    match = decontaminate.match(decontaminate.lexemes(folded), folded, BENCHMARK)

    assert match.window
    assert not match.line_run


def test_a_planted_run_of_ten_lines_is_caught_whatever_its_indentation() -> None:
    lines = [line for line in SOLUTION.splitlines() if line.strip()]
    run = "".join(f"    {line.strip()}\n" for line in lines[:10])
    nine = "".join(f"    {line.strip()}\n" for line in lines[:9])

    assert decontaminate.match(decontaminate.lexemes(run), run, BENCHMARK).line_run
    assert not decontaminate.match(decontaminate.lexemes(nine), nine, BENCHMARK).line_run


def test_an_ordinary_file_matches_nothing() -> None:
    match = decontaminate.match(decontaminate.lexemes(ORDINARY), ORDINARY, BENCHMARK)

    assert match == decontaminate.NO_MATCH


def test_the_shipped_hashes_are_small_and_catch_a_humaneval_function(tmp_path: Path) -> None:
    benchmark = decontaminate.load(corpus.HASHES)
    known = "\n".join(
        [
            "def truncate_number(number: float) -> float:",
            '    """ Given a positive floating point number, it can be decomposed into',
            "    and integer part (largest integer smaller than given number) and decimals",
            "    (leftover part always smaller than 1).",
        ]
    )

    assert corpus.HASHES.stat().st_size < 1_000_000
    assert decontaminate.match(decontaminate.lexemes(known), known, benchmark).token_grams
    decontaminate.save(benchmark, tmp_path / "again.npz")
    again = decontaminate.load(tmp_path / "again.npz")
    assert (again.token_grams == benchmark.token_grams).all()


# copies


def document(text: str) -> corpus.Document:
    found, why = corpus.filtered("a.py", text.encode(), "pypi", BENCHMARK)
    assert found is not None, why
    return found


def test_copies_are_left_out() -> None:
    source = (
        Path(corpus.__file__).read_text(encoding="utf-8").replace("MBPP", "").replace("mbpp", "")
    )
    source = source.replace("HumanEval", "").replace("has_close_elements", "")
    copies = corpus.Copies()
    digest = {"digest": "0"}

    def as_document(text: str) -> corpus.Document:
        fields = {"path": "a.py", "language": "python", "grams": (), **digest}
        digest["digest"] = text[:40] + str(len(text)) + str(hash(text))
        signature = corpus.minhash(decontaminate.lexemes(text))
        return corpus.Document(text=text, signature=signature, **fields)  # type: ignore[arg-type]

    other = Path(spans.__file__).read_text(encoding="utf-8")
    assert copies.reason(as_document(source)) == ""
    assert copies.reason(as_document(source.replace("facts", "details", 3))) == "near copy"
    assert copies.reason(as_document(other)) == ""


def test_a_copy_that_differs_in_white_space_is_exact() -> None:
    copies = corpus.Copies()

    assert copies.reason(document(ORDINARY)) == ""
    assert copies.reason(document(ORDINARY.replace("\n\n\n", "\n\n"))) == "exact copy"


# spans


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return tokenizer.train(iter([ORDINARY, SOLUTION, Path(spans.__file__).read_text()] * 3), 700)


def encoder(bpe: Tokenizer):  # type: ignore[no-untyped-def]
    return lambda text: tuple(bpe.encode(text, add_special_tokens=False).ids)


def test_spans_are_valid_and_of_every_kind(bpe: Tokenizer) -> None:
    source = Path(spans.__file__).read_text(encoding="utf-8")
    packed = [spans.pack(source, "python", "a.py", encoder(bpe), seed) for seed in range(3)]

    assert {kind for p in packed for _, _, kind in p.spans} == set(range(len(spans.KINDS)))
    for p in packed:
        assert p.spans == sorted(p.spans)
        assert all(0 <= a <= b <= len(p.tokens) and b - a <= 64 for a, b, _ in p.spans)
        assert all((a == b) == (kind == spans.EMPTY) for a, b, kind in p.spans)
        assert bpe.decode(p.tokens, skip_special_tokens=False) == source


def test_lines_and_tails_end_where_the_line_does(bpe: Tokenizer) -> None:
    packed = spans.pack(ORDINARY * 8, "python", "a.py", encoder(bpe), seed=1)
    for start, end, kind in packed.spans:
        text = bpe.decode(packed.tokens[start:end], skip_special_tokens=False)
        if kind in (spans.TAIL, spans.LINE):
            after = bpe.decode(packed.tokens[end:], skip_special_tokens=False)
            assert "\n" not in text
            assert after == "" or after[0] == "\n"


def test_cut_spans_are_tokenised_in_parts_that_decode_to_the_text(bpe: Tokenizer) -> None:
    text, encode = ORDINARY * 3 + "naïve = '🧵'\n", encoder(bpe)
    cuts = 0
    for seed in range(20):
        packed = spans.pack(text, "python", "a.py", encode, seed)
        cuts += packed.cuts
        ends = set()
        for start, end, _ in packed.spans:
            before, middle, after = (
                bpe.decode(part, skip_special_tokens=False)
                for part in (packed.tokens[:start], packed.tokens[start:end], packed.tokens[end:])
            )
            assert before + middle + after == text
            ends |= {len(before), len(before + middle)}
        bounds = [0, *sorted(ends - {0, len(text)}), len(text)]
        parts = [encode(text[a:b]) for a, b in pairwise(bounds)]
        assert packed.tokens == [token for part in parts for token in part]

    assert cuts > 20


def test_a_fair_share_of_spans_starts_or_ends_inside_a_word(bpe: Tokenizer) -> None:
    source = Path(corpus.__file__).read_text(encoding="utf-8")
    packed = [spans.pack(source, "python", "a.py", encoder(bpe), seed) for seed in range(5)]
    share = sum(p.words_cut for p in packed) / sum(len(p.spans) for p in packed)

    assert 0.09 < share < 0.16


# shards and the command


def test_a_shard_comes_back_from_its_carried_form(tmp_path: Path) -> None:
    rng = random.Random(0)
    documents = []
    for _ in range(20):
        ids = [rng.randrange(48, 6144) for _ in range(rng.randrange(1, 400))]
        starts = sorted(rng.randrange(len(ids)) for _ in range(5))
        documents.append((ids, 3, [(s, min(s + 7, len(ids)), 2) for s in starts]))
    shard = shards.shard_of(documents)
    shards.save(shard, tmp_path / "train-000.npz")

    for again in (shards.load(tmp_path / "train-000.npz"), shards.unpacked(shards.carried(shard))):
        for name in shards.NAMES:
            expected, actual = getattr(shard, name), getattr(again, name)
            assert actual.dtype == expected.dtype
            assert (actual == expected).all()


def wheel(path: Path, name: str, files: dict[str, str], licence: str) -> None:
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        facts = (
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/METADATA", facts)
        for file, text in files.items():
            archive.writestr(file, text)


def test_the_command_takes_packages_to_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    names = [f"sample-{n}" for n in range(300) if not corpus.held_out(f"sample-{n}")]
    trained = next(n for n in names if not corpus.is_validation(n))
    validation = next(n for n in names if corpus.is_validation(n))
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
    monkeypatch.setattr(corpus, "HASHES", hashes)
    bpe = tmp_path / "tokenizer.json"

    packages = corpus.package_list(listed)
    for name in packages:
        corpus.filter_one(root, *name)
    common = ["--root", str(root), "--packages", str(listed), "--tokenizer", str(bpe)]
    corpus.main(["dedup", *common])
    corpus.main(["tokenizer", "--vocabulary", "400", *common])
    corpus.main(["pack", *common])
    corpus.main(["carry", *common])
    corpus.main(["pack", *common])

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


def test_filtered_documents_are_one_line_of_json_each(tmp_path: Path) -> None:
    name = next(n for n in ("one", "two", "three", "four") if not corpus.held_out(n))
    wheel(tmp_path / "fetch" / "pypi" / name / "x.whl", name, {"a.py": ORDINARY}, "MIT")

    facts = corpus.filter_one(tmp_path, "pypi", name)

    data = corpus.stored(tmp_path, "pypi", name).read_bytes()
    rows = io.TextIOWrapper(gzip.GzipFile(fileobj=io.BytesIO(data)))
    assert facts["files"] == 1
    assert [json.loads(row)["text"] for row in rows] == [ORDINARY]
