"""What a language takes and its grammar does not is read all the same, and nothing else is."""

import time

import pytest

from infill_ls.completion.pipeline import InfillOptions, infill_at
from infill_ls.syntax.language import language_of
from infill_ls.syntax.parse import Problem, problems
from infill_ls.syntax.readable import readable
from infill_ls.syntax.sql import plain_sql
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted
from tests.infill_ls.syntax.sources import SOURCES, fresh, marked, verdict

SQL = language_of("sql")
HEAD, TAIL = "SELECT a, b FROM t WHERE c = 1;\n\n", "\n\nSELECT c FROM d;\n"
DIALECTS = [
    "SELECT a FROM t WHERE b = %(x)s AND c = :name AND d = %s AND e IN (?, ?);",
    "SELECT a FROM t WHERE b = @x AND c ILIKE 'd?' LIMIT ? OFFSET ?;",
    "SELECT a FROM t WHERE b = :x::text LIMIT :n;",
    "SELECT TOP 10 a FROM t;",
    "SELECT TOP (@n) PERCENT a FROM t WITH (NOLOCK);",
    "SELECT [a b], t.[c] FROM [dbo].[t] PIVOT (SUM(b) FOR c IN ([1], [2])) p;",
    "INSERT INTO t (a) VALUES (:x) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING id;",
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING;",
    "CREATE TABLE t2 (a INT IDENTITY(1, 1) NOT NULL, b NVARCHAR(MAX));",
    "SELECT a FROM t FOR UPDATE SKIP LOCKED;",
    "SELECT a FROM t CROSS APPLY f(t.a) AS x;",
    "SELECT a FROM t LATERAL VIEW explode(b) x AS y;",
    "SELECT a FROM t TABLESAMPLE SYSTEM (10);",
    "SELECT a FROM t ORDER BY a OFFSET 5 ROWS FETCH NEXT 10 ROWS ONLY;",
    "SELECT a FROM t WHERE d > CURRENT_DATE - INTERVAL 7 DAY;",
    "SELECT a FROM {{ ref('x') }} {% if b %} WHERE c = {{ var(\"c\") }} {% endif %};",
    "DECLARE @n INT = 3;",
    "EXEC sp_help 'a';",
    "PRAGMA foreign_keys = ON;",
    "BEGIN TRANSACTION;",
    "COMMIT;",
    "IF OBJECT_ID('t') IS NOT NULL DROP TABLE t;",
    "CALL f(1, 2);",
    "GO",
]


def wrong(text: str, language_id: str) -> tuple[Problem, ...]:
    return problems(fresh(text, language_id), text.encode(), language_of(language_id))


@pytest.mark.parametrize("statement", DIALECTS)
def test_a_dialect_is_read(statement: str) -> None:
    assert wrong(HEAD + statement + TAIL, "sql") == ()


@pytest.mark.parametrize("statement", DIALECTS)
def test_a_statement_in_a_dialect_is_shown_whole(statement: str) -> None:
    for cut in (0, statement.find(" ") + 1, statement.rfind(" ") + 1):
        where = marked(HEAD + statement[:cut] + "‸" + TAIL, "sql")
        shown = infill_at(
            Scripted(statement[cut:]), *where, InfillOptions(), trees=Trees()
        ).candidates

        assert [each.text for each in shown] == [statement[cut:]]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t WHERE;",
        "SELECT TOP a FROM;",
        "SELECT a FROM t WHERE b = :;",
        "SELECT a FROM t WHERE (b = :x;",
        "INSERT INTO t (a) VALUES (?));",
        "PRAGMA a = (1;",
        "EXEC f 'a;",
    ],
)
def test_what_is_wrong_in_every_dialect_is_refused(text: str) -> None:
    assert not verdict(f"{HEAD}‸{TAIL}", text, "sql").valid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = :b -- :c ?\n", "a = __ -- :c ?\n"),
        ("a = ':b' \"@c\" /* [d] */", "a = ':b' \"@c\" /* [d] */"),
        ("a::b [c d]\n", "a::b _____\n"),
        ("x[1] ARRAY[2] [c\n", "x[1] ARRAY[2] [c\n"),
        ("PRAGMA a;b", "         b"),
        ("a $$ :b ? $$ c", "a $$ :b ? $$ c"),
        ("a\nGO\nb", "a\n  \nb"),
    ],
)
def test_what_the_grammar_reads(text: str, expected: str) -> None:
    assert plain_sql(text) == expected


@pytest.mark.parametrize("name", ["sql", "kotlin", "htmldjango", "vue"])
def test_nothing_moves(name: str) -> None:
    source = (SOURCES[name] + "-- àé\u2028 :x [à b] {% trans 'à' %} {{ 'à' }}\n").encode()
    shown = readable(source, language_of(name))

    assert len(shown) == len(source)
    assert shown.decode().count("\n") == source.decode().count("\n")


@pytest.mark.parametrize(
    "piece",
    ["/* ", "'", "$a$", "{% ", "{{", "PIVOT (", "SELECT ", "; GO\n", "[a ", " " * 50, "TOP ("],
)
def test_twice_the_text_takes_twice_the_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        started = time.thread_time()
        plain_sql(text)
        return time.thread_time() - started

    small, large = (min(seconds(size) for _ in range(3)) for size in (10_000, 40_000))

    assert large < 8 * small + 0.005


KOTLIN = """class Buttons {
    fun interface Listener {
        fun clicked(at: Int): Int
    }

    private val listeners = mutableListOf<Listener>()

    fun add(listener: Listener) {
        listeners.add(listener)
    }
}
"""


def test_a_functional_interface_in_a_class_is_read() -> None:
    assert wrong(KOTLIN, "kotlin") == ()
    for text in (
        "fun interface Listener {",
        "fun clicked(at: Int): Int",
        "listeners.add(listener)",
    ):
        where = marked(KOTLIN.replace(text, "‸", 1), "kotlin")
        shown = infill_at(Scripted(text), *where, InfillOptions(), trees=Trees()).candidates

        assert [each.text for each in shown] == [text]
