"""Tags of templates: closed once, not nested, blocks with their ends."""

import re
import time

import pytest

from infill_ls.completion.pipeline import InfillOptions, infill_at
from infill_ls.syntax.language import language_of
from infill_ls.syntax.templates import template_faults, without_tags
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted
from tests.infill_ls.syntax.sources import SOURCES, marked

DJANGO = language_of("htmldjango")


@pytest.mark.parametrize(
    "text",
    [
        *("", "a { b } c", "{{ a }}", "{{- a -}}{%+ set b = 1 ~%}", "{{ a[b(c)] | d('}}') }}"),
        *(
            '{{ {"a": {"b": 1}} }}',
            "{# {{ it's {% #}",
            "a { width: 50%}",
            "f(function () {a({})}})",
        ),
        *("{% if a %}{% if b %}x{% endif %}{% else %}{% endif %}", "{% csrf_token %}"),
        *("{% set x %}a{% endset %}", "{% set x = 1 %}", '{% trans "a" %}', "{% block b 'c' %}"),
        *("{% trans u=f('x') %}a{% endtrans %}", "{% block t a|title %}", "{% # it's %}"),
        *("{% ifAsync a %}b{% endif %}", "{% block a 'b' %}{% if c %}{% endif %}", "{{ `it's` }}"),
        *("{% raw %}{{ a {% if %}{% endraw %}", "{% mine %}{% endmine %}", "{% url 'a' b=1 %}"),
        SOURCES["htmldjango"],
        *("{{ /'/.test(a) }}", '{{ a.split(/["}]/) }}', "{{ a / b / 'c' }}"),
    ],
)
def test_what_is_right(text: str) -> None:
    assert template_faults(text, DJANGO) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {{ b }", (2, 7)),
        ("{{ a", (0, 4)),
        ("{{ a %}", (0, 5)),
        ("{% a }}", (0, 5)),
        ("{% if a %", (0, 9)),
        ("{{ {{ a }}", (0, 3)),
        ("{% {{ a }}", (0, 3)),
        ("{{ f(a }}", (0, 7)),
        ("{{ f(a)) }}", (0, 7)),
        ("{{ 'a }}", (0, 3)),
        ("{# a", (0, 4)),
        ("{% if a %}b", (0, 10)),
        ("{% endif %}", (0, 11)),
        ("{% trans 'a' %}{% endblock %}", (15, 29)),
        ("{% if a %}{% for b in c %}{% endif %}", (10, 26)),
        ("{% raw %}{% a", (0, 9)),
    ],
)
def test_what_is_wrong(text: str, expected: tuple[int, int]) -> None:
    assert template_faults(text, DJANGO) == (expected,)


@pytest.mark.parametrize(
    ("language_id", "source", "expected"),
    [
        ("htmldjango", "<p>{% if a > 'é' %}{# <b> #}", "<p>__ __ _ _ ____ ____ ___ __"),
        ("htmldjango", "{{ a < b <p>{{ '>' }}", "{{ a < b <p>__ ___ __"),
        ("vue", "{{ a > b }}{% a > b %}", "__ _ _ _ __{% a > b %}"),
    ],
)
def test_what_markup_would_take_for_its_own_is_blanked_out(
    language_id: str, source: str, expected: str
) -> None:
    assert expected.encode() == without_tags(source.encode(), language_of(language_id))


@pytest.mark.parametrize(
    "piece",
    [
        "{{ ",
        "{% if a %}",
        "{{ a }}",
        "{% endif %}",
        "{{ f(",
        "{# ",
        "{% raw %}",
        "{{ 'a",
        "{% if a %}<b>",
    ],
)
def test_twice_the_text_takes_twice_the_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        started = time.thread_time()
        template_faults(text, DJANGO)
        without_tags(text.encode(), DJANGO)
        return time.thread_time() - started

    small, large = (min(seconds(size) for _ in range(3)) for size in (10_000, 40_000))

    assert large < 8 * small + 0.005


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("{% if a %}<b c>{% else %}<b>{% endif %}</b>", ["<b c>", "</b>"]),
        ("{% if a %}{% if b %}<b>{% else %}<b c>{% endif %}{% else %}<i>{% endif %}", ["<b>"]),
        ("{% case a %} {% when 1 %}</i>{% when 2 %}</b>{% endcase %}", ["</i>"]),
        ("<b {% if a %}c='>'>{% else %}>{% endif %}</b>", ["<b __ __ _ __c='>'>", "</b>"]),
        # they do not open the same, or nothing
        ("{% if a %}<b>{% else %}<b><i>{% endif %}", ["<b>", "<b>", "<i>"]),
        ("{% if a %}<br>{% else %}<i/>{% endif %}", ["<br>", "<i/>"]),
        ("{% if a %}<b></b>{% else %}<i></i>{% endif %}", ["<b>", "</b>", "<i>", "</i>"]),
    ],
)
def test_of_branches_that_open_or_close_the_same_one_stays(source: str, kept: list[str]) -> None:
    shown = without_tags(source.encode(), DJANGO).decode()

    assert len(shown) == len(source)
    assert re.findall("<(?:'.'|[^>])*>", shown) == kept


@pytest.mark.parametrize(
    ("source", "good", "wrong"),
    [
        ("{% if a %}<b c>{% else %}‸{% endif %}d</b>\n", "<b>", "<b><i>"),
        ("{% if a %}<b c>{% else %}<b>{% endif %}\n‸\n", "d</b>", "d</b></b>"),
        ("‸\nd</b>\n", "{% if a %}<b c>{% else %}<b>{% endif %}", "<b c>{% if a %}<b>{% endif %}"),
    ],
)
def test_branches_that_open_the_same_are_one(source: str, good: str, wrong: str) -> None:
    for text, expected in ((good, True), (wrong, False)):
        found = infill_at(
            Scripted(text), *marked(source, "htmldjango"), InfillOptions(), trees=Trees()
        )

        assert expected == (text in [each.text for each in found.candidates])


@pytest.mark.parametrize("language_id", ["jinja", "htmldjango"])
@pytest.mark.parametrize(
    ("source", "good", "wrong"),
    [
        ("<p>{{ ‸ }}</p>\n", "a | b('c')", "a }} {{ b {{"),
        ("<p>‸</p>\n", "{{ a }}", "{{ a }"),
        ("<p>‸</p>\n", "{{ a }}", "{{ a }}}}"),
        ("<p>‸</p>\n", "{% if a %}b{% endif %}", "{% if a %}b"),
        ("<p>\n  ‸\n</p>\n", "{% include 'a' %}", "{% include 'a }}"),
        ("{% if a %}\n  b\n‸\n", "{% endif %}", "{% endfor %}"),
        ("{% for a in b %}\n  ‸\n{% endfor %}\n", "{{ a }}", "{{ a }}{% endfor %}"),
    ],
)
def test_a_text_keeps_the_tags_whole(source: str, good: str, wrong: str, language_id: str) -> None:
    document, cursor = marked(source, language_id)
    for text, expected in ((good, True), (wrong, False)):
        found = infill_at(Scripted(text), document, cursor, InfillOptions(), trees=Trees())

        assert expected == (text in [each.text for each in found.candidates])
