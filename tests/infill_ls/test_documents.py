"""Documents against a slow, obvious reference: UTF-16 and UTF-8 arrays, lines split by a loop."""

import os
import random
import time

import pytest

from infill_ls.documents import Change, Document, DocumentStore, Encoding, LineIndex
from infill_ls.uris import document_key

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
# What LSP ends a line at, what only str.splitlines does, and characters of one to four bytes.
PIECES = ["\n", "\r", "\r\n", "\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"]
PIECES += ["a", "b c", "é", "日本", "😀", "😀x𝒳", "\t", "", "word\r\n", "\n\r"]


# Of 99 edits each, for every encoding; 3,400 make a million.
NUM_SCRIPTS = int(os.environ.get("INFILL_EDIT_SCRIPTS", "8"))


def document(text: str) -> Document:
    return Document(uri="file:///a.py", version=1, language_id="python", text=text)


def reference_lines(text: str) -> list[tuple[str, str]]:
    """(content, line end) of every line."""
    lines, content, i = [], "", 0
    while i < len(text):
        end = "\r\n" if text[i : i + 2] == "\r\n" else text[i] if text[i] in "\r\n" else ""
        if end:
            lines.append((content, end))
            content = ""
        else:
            content += text[i]
        i += len(end) or 1
    return [*lines, (content, "")]


def width(char: str, encoding: Encoding) -> int:
    match encoding:
        case "utf-8":
            return len(char.encode())
        case "utf-16":
            return 2 if ord(char) > 0xFFFF else 1
        case "utf-32":
            return 1


def reference_offset(text: str, line: int, character: int, encoding: Encoding) -> int:
    lines = reference_lines(text)
    if line >= len(lines):
        return len(text)
    offset = sum(len(content) + len(end) for content, end in lines[:line])
    for char in lines[line][0]:
        character -= width(char, encoding)
        if character < 0:
            break
        offset += 1
    return offset


def reference_position(text: str, offset: int, encoding: Encoding) -> tuple[int, int]:
    for line, (content, end) in enumerate(reference_lines(text)):
        size = len(content) + len(end)
        if offset < size or (not end and offset == size):
            return line, sum(width(char, encoding) for char in content[:offset])
        offset -= size
    raise AssertionError("the offset is in the text")


def random_text(rng: random.Random, pieces: int) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, pieces)))


def assert_same_lines(text: str, doc: Document) -> None:
    lines = reference_lines(text)

    assert [content for content, _ in lines] == [doc.line_text(i) for i in range(doc.num_lines)]
    assert LineIndex.of(text).num_lines == doc.num_lines
    assert [LineIndex.of(text).start(i) for i in range(len(lines) + 1)] == [
        doc.line_start(i) for i in range(len(lines) + 1)
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("seed", range(NUM_SCRIPTS))
def test_edit_scripts_keep_text_and_positions_as_the_reference_has_them(
    encoding: Encoding, seed: int
) -> None:
    rng = random.Random(f"{encoding} {seed}")
    store = DocumentStore()
    text = random_text(rng, 60)
    store.open("file:///a.py", "python", 0, text)
    for version in range(1, 100):
        positions = [(rng.randint(0, 40), rng.randint(0, 12)) for _ in range(2)]
        near = (positions[0][0] + rng.randint(0, 2), rng.randint(0, 12))
        start, end = sorted(rng.choice([positions, [positions[0], near]]))
        inserted = random_text(rng, rng.choice([1, 3, 12]))
        a, b = (reference_offset(text, *position, encoding) for position in (start, end))
        text = text[: min(a, b)] + inserted + text[max(a, b) :]
        change = Change(text=inserted, range=(*start, *end))
        doc = store.change("file:///a.py", version, [change], encoding)

        assert doc is not None
        assert (text, version) == (doc.text, doc.version)
        assert_same_lines(text, doc)
        for _ in range(5):
            line, character = rng.randint(0, 30), rng.randint(0, 15)
            assert reference_offset(text, line, character, encoding) == doc.offset_at(
                line, character, encoding
            )
            offset = rng.randint(0, len(text))
            assert reference_position(text, offset, encoding) == doc.position_at(offset, encoding)


def test_long_files_cross_many_chunks() -> None:
    rng = random.Random(7)
    text = "".join(f"line {i}{rng.choice(PIECES[:3])}" for i in range(3000))
    doc = document(text)
    for version in range(200):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.choice([0, 0, 1, 30, 4000]))
        inserted = rng.choice(["", "x", "\r", "\n", "\r\n" * 5, "y\n" * 700])
        text = text[:start] + inserted + text[end:]
        doc = doc.replaced(start, end, inserted, version=version)
        if version % 20 == 19:
            fresh = LineIndex.of(text)
            starts = [fresh.start(line) for line in range(fresh.num_lines + 1)]
            assert starts == [doc.line_start(line) for line in range(doc.num_lines + 1)]
            for offset in rng.choices(range(len(text) + 1), k=200):
                assert fresh.line_of(offset) == doc.lines.line_of(offset)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "separator", ["\f", "\v", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_only_lf_crlf_and_cr_end_a_line(separator: str, encoding: Encoding) -> None:
    doc = document(f"{separator}\nclass A:\r  pass\r\nend{separator}x")

    assert doc.num_lines == 4
    assert doc.offset_at(1, 0, encoding) == 2
    assert doc.line_text(2) == "  pass"
    assert f"end{separator}x" == doc.line_text(3)


@pytest.mark.parametrize(
    ("text", "line", "character", "encoding", "expected"),
    [
        ("", 0, 0, "utf-16", 0),
        ("", 3, 9, "utf-16", 0),
        ("hello", 0, 5, "utf-16", 5),
        ("hello", 0, 99, "utf-16", 5),
        ("hello", 1, 0, "utf-16", 5),
        ("a\nb", 0, 99, "utf-16", 1),
        ("a\r\nb", 0, 99, "utf-16", 1),
        ("a\n", 1, 4, "utf-16", 2),
        ("a\n", 2, 0, "utf-16", 2),
        ("😀x", 0, 2, "utf-16", 1),
        ("😀x", 0, 1, "utf-16", 0),  # inside the pair
        ("😀x", 0, 4, "utf-8", 1),
        ("😀x", 0, 3, "utf-8", 0),  # inside the four bytes
        ("😀x", 0, 1, "utf-32", 1),
        ("é😀", 0, 3, "utf-8", 1),
        ("a", -1, -1, "utf-16", 0),
    ],
)
def test_positions_clamp_as_lsp_says(
    text: str, line: int, character: int, encoding: Encoding, expected: int
) -> None:
    assert expected == document(text).offset_at(line, character, encoding)


def test_offsets_clamp_too_and_never_point_between_cr_and_lf() -> None:
    doc = document("ab\r\ncd")

    assert (0, 2) == doc.position_at(2, "utf-16") == doc.position_at(3, "utf-16")
    assert doc.position_at(4, "utf-16") == (1, 0)
    assert doc.position_at(99, "utf-16") == (1, 2)
    assert doc.position_at(-5, "utf-16") == (0, 0)
    assert document("").position_at(0, "utf-16") == (0, 0)


def test_half_a_surrogate_pair_becomes_a_replacement_character_of_the_same_width() -> None:
    store = DocumentStore()
    store.open("u", "python", 1, "a\ud83db")
    doc = store.change("u", 2, [Change(text="\ude00", range=(0, 3, 0, 3))], "utf-16")

    assert doc is not None
    assert doc.text == "a\ufffdb\ufffd"


def test_an_older_snapshot_stays_as_it_was() -> None:
    store = DocumentStore()
    old = store.open("u", "python", 1, "one\ntwo\n")
    new = store.change("u", 2, [Change(text="zero\n", range=(0, 0, 0, 0))], "utf-16")

    assert (old.text, old.version, old.line_text(1)) == ("one\ntwo\n", 1, "two")
    assert new is not None
    assert (new.text, new.version, new.line_text(2)) == ("zero\none\ntwo\n", 2, "two")
    assert store.get("u") is new


def test_several_edits_of_one_notification_apply_in_turn_and_a_full_text_replaces() -> None:
    store = DocumentStore()
    store.open("u", "python", 1, "abc")
    edits = [Change(text="XY", range=(0, 1, 0, 2)), Change(text="\n", range=(0, 3, 0, 3))]
    assert getattr(store.change("u", 2, edits, "utf-16"), "text", None) == "aXY\nc"

    edits = [Change(text="new\r\n"), Change(text="!", range=(1, 0, 1, 0))]
    assert getattr(store.change("u", 3, edits, "utf-16"), "text", None) == "new\r\n!"


def test_a_range_with_its_ends_swapped_means_the_same() -> None:
    store = DocumentStore()
    store.open("u", "python", 1, "abcd")
    doc = store.change("u", 2, [Change(text="-", range=(0, 3, 0, 1))], "utf-16")

    assert getattr(doc, "text", None) == "a-d"


def test_a_closed_document_is_unknown_and_a_change_to_it_is_nothing() -> None:
    store = DocumentStore()
    store.open("u", "python", 1, "abcd")
    store.close("u")
    store.close("u")

    assert store.get("u") is None
    assert store.change("u", 2, [Change(text="x")], "utf-16") is None


def test_a_uri_is_the_same_however_it_is_quoted() -> None:
    store = DocumentStore()
    opened = store.open("file:///c%3A/a%20b.py", "python", 1, "x")

    assert store.get("file:///c:/a b.py") is opened
    assert opened.uri == document_key("file:///C:/a%20b.py")
    store.close("file:///c%3a/a%20b.py")
    assert store.get("file:///c%3A/a%20b.py") is None


def test_a_lost_document_is_unknown_until_its_whole_text_comes() -> None:
    store = DocumentStore()
    assert not store.lose("u")
    store.open("u", "python", 1, "abcd")
    assert store.lose("u")
    assert store.get("u") is None
    assert store.change("u", 2, [Change(text="x", range=(0, 0, 0, 0))], "utf-16") is None

    edits = [Change(text="new"), Change(text="!", range=(0, 3, 0, 3))]
    found = store.change("u", 3, edits, "utf-16")
    assert found is not None
    assert found is store.get("u")
    assert found == Document(uri=found.uri, version=3, language_id="python", text="new!")


def test_a_client_that_does_not_count_leaves_the_version_as_it_was() -> None:
    store = DocumentStore()
    store.open("u", "python", 7, "a")
    uncounted = store.change("u", None, [Change(text="b")], "utf-16")
    counted = store.change("u", 8, [], "utf-16")

    assert (uncounted and uncounted.version, uncounted and uncounted.text) == (7, "b")
    assert (counted and counted.version, counted and counted.text) == (8, "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "\n"), ("a", "\n"), ("a\r\nb\nc\r\n", "\r\n"), ("a\rb\rc\n", "\r"), ("a\n", "\n")],
)
def test_newline_is_the_one_the_file_uses_most(text: str, expected: str) -> None:
    assert expected == document(text).newline


def test_a_keystroke_in_ten_thousand_lines_is_far_below_a_millisecond() -> None:
    store = DocumentStore()
    store.open("u", "python", 0, "    value = call(argument, 123)  # a comment\n" * 10_000)
    seconds = []
    for version in range(1, 200):
        line = version * 50
        start = time.perf_counter()
        doc = store.change("u", version, [Change(text="x", range=(line, 9, line, 9))], "utf-16")
        assert doc is not None
        assert doc.position_at(doc.offset_at(line, 10, "utf-16"), "utf-16") == (line, 10)
        seconds.append(time.perf_counter() - start)

    assert sorted(seconds)[len(seconds) // 2] < 0.001
