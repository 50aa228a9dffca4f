"""Strings, comments, regular expressions and here-documents of fragments."""

import re

import pytest

from infill_engine.budget import Budget, BudgetSpent
from infill_ls.syntax import lexer
from infill_ls.syntax.language import language_of
from infill_ls.syntax.lexer import at_end, lex, state_at
from tests.infill_ls.syntax.constructs import CONSTRUCTS as PARSED
from tests.infill_ls.syntax.constructs import LEXED_CONSTRUCTS

CONSTRUCTS = PARSED | LEXED_CONSTRUCTS

# Strings are marked with s, comments with c.
KINDS = [
    ("javascript", "a = b / c / d", "             "),
    ("javascript", "a = /[/\"]'/g + b", "    ssssssss    "),
    ("javascript", "return /a/", "       sss"),
    ("javascript", "x) / 2 // c", "       cccc"),
    ("javascript", "`a${f(`b${'}'}`) + {}}c` d", "ssss  sssssssss      sss"),
    ("typescript", "/* a\n'*/ b", "cccc\nccc  "),
    ("ruby", "puts /a'/, b / c", "     ssss       "),
    ("ruby", "x = <<~A, y\n 'a\n  A\nb", "           \nsss\nsss\n "),
    ("ruby", '"a#{b("c")}d"', "ssss  sss sss"),
    ("ruby", "a << b", "      "),
    ("shellscript", "cat <<'E'\n'x\nE\ny", "         \nss\ns\n "),
    ("shellscript", "cat <<-E\n\ta\n\tE\n", "        \nss\nss\n"),
    ("shellscript", "((a<<b))\n'c'", "        \nsss"),
    ("shellscript", "'a\\' b", "ssss  "),
    ("shellscript", '"$(echo "a")b"', "sss     ssssss"),
    ("shellscript", "cat <<<a", "        "),
    ("php", "$a = <<<A\n'\n  A;\nb", "         \ns\nsss \n "),
    ("php", "#[A] // b\n# c", "     cccc\nccc"),
    ("rust", "/* a /* b */ c */ d", "ccccccccccccccccc "),
    ("rust", 'r#"a"b"# c', "ssssssss  "),
    ("rust", "f<'a>('b', \"c\")", "      sss  sss "),
    ("c", "/* a /* b */ c", "cccccccccccc  "),
    ("cpp", 'R"x(a)")x" b', "ssssssssss  "),
    ("go", "`a\\` b", "ssss  "),
    ("ruby", "%w[a' [b] c] d", "ssssssssssss  "),
    ("ruby", "f %q(it's) + x", "  ssssssss    "),
    ("ruby", "a % (b) '", "        s"),
    ("csharp", '@"a\\" + $@"b""\n\'c" d', "sssss   ssssss\nsss  "),
    ("csharp", '"""a"b"""; c', "sssssssss   "),
    ("swift", '#"a"b\\"# c', "ssssssss  "),
    ("lua", "[==[a]]'\nb]==] c", "ssssssss\nsssss  "),
    ("lua", "a[b[1]] -- c", "        cccc"),
    ("sql", "a $$it's$$ b $1", "  ssssssss     "),
    ("sql", "AS $$\nBEGIN 'a'", "     \n      sss"),
    ("sql", "AS $$\nit's\n$$ LANGUAGE plperl 'a'", "   ss\nssss\nss                 sss"),
    ("python", "'''a\n'b''' c", "ssss\nsssss  "),
]


@pytest.mark.parametrize(("language_id", "text", "expected"), KINDS)
def test_of_every_character_it_is_known_what_it_is(
    language_id: str, text: str, expected: str
) -> None:
    found = lex(text, language_of(language_id)).kinds(len(text))
    shown = "".join(k if c != "\n" else "\n" for c, k in zip(text, found, strict=True))

    assert shown.rstrip(" ") == expected.rstrip(" ")


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_text_cut_anywhere_is_lexed_as_the_whole(name: str) -> None:
    language, text = language_of(name), CONSTRUCTS[name]
    whole = lex(text, language)
    for at in range(len(text) + 1):
        if _within_token(text, at):
            continue
        head = lex(text[:at], language)
        tail = lex(text[at:], language, head.state, before=head.tail)

        assert tail.state == whole.state, text[max(at - 20, 0) : at]
        kinds = head.kinds(at) + tail.kinds(len(text) - at)
        assert kinds == whole.kinds(len(text)), (text[max(at - 20, 0) : at], text[at : at + 20])


_HALF = re.compile(r"\{% \w+[^%]*%\}|[:=,-] [\"'|>]\d?|LANGUAGE \w+ AS \$\$|AS \$\$.*\$\$")


def _within_token(text: str, at: int) -> bool:
    """A cursor there would have to know half a token: an opener, an escape, a heredoc's name."""
    near = text[max(at - 1, 0) : at + 1]
    if any(m.start() < at < m.end() for m in _HALF.finditer(text)):
        return True
    word = near[:1].isalnum() and near[1:].isalnum()
    return word or (bool(near.strip()) and not near.isalnum() and near.strip() == near)


def test_comments_nested_without_end_and_many_names_take_little() -> None:
    rust, shell = language_of("rust"), language_of("shellscript")
    documents = "".join(f"cat <<E{i}\n'\nE{i}\n" for i in range(1_000))

    assert lex("/*" * 20_000, rust).state.open[0].deep == 19_999
    assert lex(documents, shell).state.kind == "code"


def test_the_state_of_a_long_text_is_carried_on() -> None:
    language = language_of("c")
    text = "int a; /* b\n" + "it's (\n" * 10_000

    assert state_at(text, language).kind == "comment"
    assert state_at(text + "*/", language).kind == "code"


def test_a_budget_that_is_over_ends_it_and_nothing_is_lost() -> None:
    text = "x = 'a'\n" * 20_000
    with pytest.raises(BudgetSpent):
        state_at(text, language_of("python"), budget=Budget(deadline=0.0))


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_text_is_the_same_whole_and_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    language = language_of(name)
    text = CONSTRUCTS[name] * 3

    whole = lex(text, language)
    monkeypatch.setattr(lexer, "_PART", 10)
    lex.cache_clear()
    parts = lex(text, language)

    assert at_end(text, language) == (parts.state, parts.tail)
    assert parts.kinds(len(text)) == whole.kinds(len(text))
    assert (parts.brackets, parts.state) == (whole.brackets, whole.state)
    assert (parts.broken_off, parts.tail.split()[-1:]) == (
        whole.broken_off,
        whole.tail.split()[-1:],
    )
    lex.cache_clear()
