"""What is taken for a secret in a text, and that a text is not looked at as a whole again."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infill_ls import secret_texts
from infill_ls.secret_texts import Secrets, look_through, secret_in, secrets_of

ROOT = Path(__file__).parents[2]
BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "x7" * 18


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"-----BEGIN RSA PRIVATE KEY-----\n{BASE64}", "a private key"),
        (f"-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC\n\n{BASE64}", "a private key"),
        (f"key = ('-----BEGIN PRIVATE KEY-----\\n'\n    '{BASE64}\\n'", "a private key"),
        (f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{BASE64}", "a private key"),
        ("if line == '-----BEGIN PRIVATE KEY-----':\n    return load(line)\n", ""),
        (f"aws = {AWS}\n", "a token"),
        (f"url = 'https://{GITHUB}@github.com'", "a token"),
        ("key: sk-" + "proj-" + "aB3" * 14, "a token"),
        (
            "jwt eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTYifQ" + ".dozjgNryP4J3jVmNHl0w5N",
            "a token",
        ),
        ("API_KEY = '" + "9f86d081884c7d65" * 2 + "'", "a token"),
        ('{"access_token": "' + "9f86d081884c7d65" * 2 + '"}', "a token"),
        ("client_secret=" + "9f86d081884c7d65" * 2 + "\n", "a token"),
        *(
            (assigned.replace("VALUE", "9f86d081884c7d65" * 2), "a token")
            for assigned in (
                'token := "VALUE"',
                'const token: string = "VALUE";',
                "'token' => 'VALUE',",
                '#define API_KEY "VALUE"',
                'string token = @"VALUE";',
                "const token = `VALUE`",
                "TOKEN=VALUE\r\nA=1\r\n",
                "TOKEN=VALUE # of the shop\n",
                "TOKEN=VALUE;",
            )
        ),
        ("key: sk-" + "ant-api03-" + "aB3_-" * 14, "a token"),
        ("key: sk_" + "test_" + "aB3" * 8, "a token"),
        ("class='sk-folding-cube-animation-of-the-wrapper-element'", ""),
        (f"-----BEGIN CERTIFICATE-----\n{BASE64}", ""),
        ("token = tokenizer.tokens[position_of_the_next_token_in_line_2]", ""),
        ("token = next_token_of_the_underlying_iterator_of_lines\n", ""),
        ("sha256 = '" + "9f86d081884c7d65" * 4 + "'", ""),
        ("TOKEN = 'changeme'", ""),
        ("risk-" + "analysis-" * 6, ""),
        ("", ""),
    ],
)
def test_what_looks_like_a_secret_in_a_text(text: str, what: str) -> None:
    assert secrets_of(text, Secrets()).what == what


def test_our_own_sources_hold_none() -> None:
    files = (ROOT / "infill_ls").rglob("*.py")
    found = [path for path in files if secret_in(path.as_uri(), path.read_text())]

    assert found == []


# What begins, continues, decides on and ends secrets, so that edits make and break them.
PARTS = st.sampled_from(
    [
        *("-----BEGIN PRIVATE KEY-----", "PRIVATE KEY", " BLOCK", "-----", BASE64, BASE64 * 9),
        *("PuTTY-User-Key-File-", "2", "AKIA", AWS, GITHUB, "ghp_", "sk-", "proj-", "x7" * 16),
        *("eyJhbGciOiJIUzI1NiJ9", ".", "eyJzdWIiOiIxMjM0NTY3", "aB3" * 170, "token", "API_KEY"),
        *("TOKEN", "İ", "\u212a", " = ", ":", '"', "'", "\n", "\r\n", " ", "a", "_", "é", "😀"),
        *("PRIVATE KEY-----" * 30, " " * 99, "x" * 301),
    ]
)
TEXTS = st.lists(PARTS, max_size=12).map("".join)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.tuples(st.integers(0), st.integers(0, 700), TEXTS), max_size=8))
def test_after_every_edit_the_answer_is_that_for_the_whole_text(
    text: str, edits: list[tuple[int, int, str]]
) -> None:
    known = secrets_of(text, Secrets())
    for where, num_removed, inserted in edits:
        start = where % (len(text) + 1)
        text = text[:start] + inserted + text[start + num_removed :]
        known = secrets_of(text, known)

        assert known == secrets_of(text, Secrets())


@settings(max_examples=50, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 700))
def test_in_parts_the_answer_is_the_same(before: str, text: str, part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secret_texts, "PART", part)
        patch.setattr(secret_texts, "_known", {"a": secrets_of(before, Secrets())})
        for _ in look_through("a", text):
            assert secret_texts._known["a"].text == before

        assert secret_texts._known == {"a": secrets_of(text, Secrets())}


@pytest.mark.parametrize("text", ["sk-", "PRIVATE KEY-----\n", "import token\n"])
def test_no_part_of_a_long_text_takes_long(text: str) -> None:
    longest, started = 0.0, time.thread_time()
    for _ in look_through("file:///long", text * (300_000 // len(text))):
        longest = max(longest, time.thread_time() - started)
        started = time.thread_time()

    assert longest < 0.1


def large() -> str:
    sources = sorted((ROOT / "infill_ls").rglob("*.py"))
    text = "".join(path.read_text() for path in sources)
    return (text * 9)[:1_000_000]


def test_a_change_in_a_large_text_costs_a_fraction_of_the_whole() -> None:
    text = large()
    started = time.process_time()
    secret_in("file:///a.py", text)
    whole = time.process_time() - started
    started = time.process_time()
    for _ in range(20):
        text = text[:500_000] + "x" + text[500_000:]
        assert secret_in("file:///a.py", text) == ""
    change = (time.process_time() - started) / 20

    assert change < whole / 4, f"{change=:.4f} {whole=:.4f}"


@pytest.mark.parametrize(
    "text", ["PRIVATE KEY-----", "-eyJ", "token=", "sk-", "a_token: '", '"secret', "hf_"]
)
def test_no_text_takes_long(text: str) -> None:
    started = time.process_time()
    secrets_of(text * (200_000 // len(text)), Secrets())

    assert time.process_time() - started < 0.5


def test_two_documents_are_kept_apart_and_few_are_remembered() -> None:
    for number in range(40):
        assert secret_in(f"file:///{number}", AWS if number % 2 else "") == "a token" * (number % 2)
        assert secret_in("file:///other", "plain") == ""
