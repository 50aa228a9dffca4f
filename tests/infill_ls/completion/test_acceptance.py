"""The counts of a user: added up over servers, kept in a file, and never in anybody's way."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_ls.completion.acceptance import (
    BUCKETS,
    MAX_LANGUAGES,
    OTHERS,
    Acceptance,
    LanguageCounts,
    bucket_of,
    doubt,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "infill-ls" / "acceptance.json"


def loaded(path: Path) -> Acceptance:
    acceptance = Acceptance(path)
    acceptance.load()
    return acceptance


def used(acceptance: Acceptance) -> None:
    acceptance.shown("python", 0.42)
    acceptance.shown("python", 1.0)
    acceptance.accepted("python", 0.42)
    acceptance.dismissed("python", 1.0)
    acceptance.took("python", 12)
    acceptance.looked_at("python", 12, 9)


def in_bucket(*numbers: int) -> tuple[int, ...]:
    return tuple(int(n in numbers) for n in range(BUCKETS))


def test_what_was_counted_is_there_for_the_next_server(path: Path) -> None:
    first = Acceptance(path)
    used(first)
    expected = LanguageCounts(
        shown=in_bucket(8, 19),
        accepted=in_bucket(8),
        dismissed=in_bucket(19),
        characters=12,
        looked_at=12,
        kept=9,
    )

    assert first.of("python") == expected
    first.save()
    assert first.of("python") == expected
    assert loaded(path).by_language() == {"python": expected}
    assert not first.unsaved


def test_servers_that_count_at_once_add_up(path: Path) -> None:
    one, other = loaded(path), loaded(path)
    for acceptance in (one, other, one):
        used(acceptance)
        acceptance.save()

    assert sum(loaded(path).of("python").shown) == 6
    assert loaded(path).since == one.since


def test_what_one_process_resets_no_other_brings_back(path: Path) -> None:
    server = Acceptance(path)
    used(server)
    server.save()
    loaded(path).reset()
    server.shown("go", 0.5)
    server.save()

    assert list(loaded(path).by_language()) == ["go"]


def test_a_running_server_notices_what_others_do(path: Path) -> None:
    server, other = Acceptance(path), Acceptance(path)
    server.follow(after=0.0)
    used(server)
    server.follow(after=0.0)
    assert server.of("python").characters == 12, "there never was a file"
    server.save()
    used(other)
    other.save()
    server.follow(after=0.0)
    assert server.of("python").characters == 24
    used(server)  # and not saved yet
    other.reset()
    server.follow(after=0.0)

    assert (server.by_language(), server.unsaved) == ({}, False)
    assert server.times_reset
    used(server)
    server.save()
    assert loaded(path).of("python").characters == 12


def test_it_looks_only_every_few_seconds(path: Path) -> None:
    server = Acceptance(path)
    used(server)
    server.save()
    server.follow()
    loaded(path).reset()
    server.follow()

    assert server.of("python").characters == 12


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_nobody_else_may_read_the_file(path: Path) -> None:
    acceptance = Acceptance(path)
    used(acceptance)
    acceptance.save()

    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert not [each for each in path.parent.iterdir() if each.suffix not in (".json", ".lock")]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"since": "2026-01-01"}',
        b'{"since": 3, "languages": {}}',
        b'{"since": "2026-01-01", "languages": {"python": {"shown": [-1]}}}',
        b'{"since": "2026-01-01", "languages": {"python": 5}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
)
def test_a_damaged_file_is_set_aside_and_said_once(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    acceptance = loaded(path)
    complaint = acceptance.complaint
    used(acceptance)
    acceptance.save()

    assert "damaged" in complaint
    assert "Counting goes on from nothing" in complaint
    assert path.with_suffix(".damaged").read_bytes() == damage
    assert loaded(path).complaint == ""
    assert loaded(path).of("python").characters == 12


def test_a_folder_that_cannot_be_written_costs_a_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    acceptance = Acceptance(blocked / "acceptance.json")
    used(acceptance)
    acceptance.save()

    assert "cannot be written" in acceptance.complaint
    assert acceptance.of("python").characters == 12


def test_without_a_file_it_counts_for_itself() -> None:
    acceptance = Acceptance()
    used(acceptance)
    acceptance.save()

    assert (acceptance.unsaved, acceptance.of("python").characters) == (False, 12)


def test_the_languages_are_bounded(path: Path) -> None:
    acceptance = Acceptance(path)
    for number in range(3 * MAX_LANGUAGES):
        acceptance.took(f"language {number} " + "x" * 1000, 1)
    acceptance.save()
    names = loaded(path).by_language()

    assert len(names) == MAX_LANGUAGES + 1
    assert names[OTHERS].characters == 2 * MAX_LANGUAGES
    assert max(map(len, names)) <= 40


@given(st.floats(allow_nan=False))
def test_every_confidence_has_its_bucket(confidence: float) -> None:
    assert 0 <= bucket_of(min(max(confidence, -1e6), 1e6)) < BUCKETS


def test_no_text_and_no_file_is_in_it(path: Path) -> None:
    acceptance = Acceptance(path)
    used(acceptance)
    acceptance.save()
    said = json.loads(path.read_text())

    assert set(said) == {"since", "languages"}
    assert all(type(number) is int for number in said["languages"]["python"]["shown"])


@pytest.mark.parametrize(
    ("accepted", "dismissed", "expected"),
    [(0, 0, 1.0), (100, 100, 1.0), (10, 30, 1.3), (0, 1000, 2.0), (1000, 0, 0.5)],
)
def test_who_takes_less_than_was_said_is_shown_less(
    accepted: int, dismissed: int, expected: float
) -> None:
    acceptance = Acceptance()
    for _ in range(accepted):
        acceptance.accepted("python", 0.52)
    for _ in range(dismissed):
        acceptance.dismissed("python", 0.49)

    assert doubt(acceptance.of("python")) == pytest.approx(expected)
    assert doubt(acceptance.of("go")) == 1.0
