"""Prompts in the spellings of models, taken apart again."""

from collections.abc import Callable

import pytest

from infill_ls.fim.prompts import SPELLINGS, Prompt, PromptError, taken_apart

BEFORE, AFTER = "def area(r):\n    return ", "\n\nprint(area(2))\n"
# As each model's documentation has it, written out: text before and after the cursor.
PSM: dict[str, Callable[[str, str], str]] = {
    "Qwen": lambda p, s: f"<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>",
    "StarCoder": lambda p, s: f"<fim_prefix>{p}<fim_suffix>{s}<fim_middle>",
    "SantaCoder": lambda p, s: f"<fim-prefix>{p}<fim-suffix>{s}<fim-middle>",
    "CodeLlama": lambda p, s: f"<PRE> {p} <SUF>{s} <MID>",
    "DeepSeek": lambda p, s: f"<｜fim▁begin｜>{p}<｜fim▁hole｜>{s}<｜fim▁end｜>",
    "GLM": lambda p, s: f"<|code_prefix|>{p}<|code_suffix|>{s}<|code_middle|>",
    "Seed": lambda p, s: f"<[fim-prefix]>{p}<[fim-suffix]>{s}<[fim-middle]>",
}
SPM: dict[str, Callable[[str, str], str]] = {
    "Qwen": lambda p, s: f"<|fim_suffix|>{s}<|fim_prefix|>{p}<|fim_middle|>",
    "Qwen, empty prefix": lambda p, s: f"<|fim_prefix|><|fim_suffix|>{s}<|fim_middle|>{p}",
    "StarCoder": lambda p, s: f"<fim_prefix><fim_suffix>{s}<fim_middle>{p}",
    "CodeLlama": lambda p, s: f"<PRE> <SUF>{s} <MID> {p}",
    "CodeLlama, llama.cpp": lambda p, s: f"<SUF>{s}<PRE>{p}<MID>",
    "Codestral": lambda p, s: f"[SUFFIX]{s}[PREFIX]{p}",
}
ALL = {**{f"PSM {name}": f for name, f in PSM.items()}, **{f"SPM {n}": f for n, f in SPM.items()}}
SIDES = [
    (BEFORE, AFTER),
    ("", AFTER),
    (BEFORE, ""),
    ("", ""),
    ("  x = ", "  "),
    ("é\U0001f600", "ñ"),
]


@pytest.mark.parametrize("spelled", ALL.values(), ids=ALL)
@pytest.mark.parametrize("sides", SIDES)
def test_every_spelling_and_order_is_read(
    spelled: Callable[[str, str], str], sides: tuple[str, str]
) -> None:
    assert taken_apart(spelled(*sides)) == Prompt(before=sides[0], after=sides[1])


def test_every_spelling_of_the_table_is_among_them() -> None:
    assert {each.models.partition(",")[0] for each in SPELLINGS} == {*PSM, "Codestral"}


@pytest.mark.parametrize("name", PSM)
@pytest.mark.parametrize("quote", ["'", '"', "`"])
def test_special_tokens_in_quotes_are_text(name: str, quote: str) -> None:
    """Who writes a plugin for such a model has them in the file."""
    for other in SPELLINGS:
        tokens = (other.prefix, other.suffix, other.middle)
        text = f"({', '.join(f'{quote}{token}{quote}' for token in tokens)})"
        for before, after in ((BEFORE + text, AFTER), (BEFORE, AFTER + text)):
            assert taken_apart(PSM[name](before, after)) == Prompt(before=before, after=after)


def test_a_cursor_between_quotes_is_one() -> None:
    prompt = PSM["Qwen"]('name = "', '"\n')

    assert taken_apart(prompt) == Prompt(before='name = "', after='"\n')


def test_unquoted_tokens_further_in_leave_both_ends_right() -> None:
    before = "# the tokens are <|fim_prefix|> and <|fim_middle|>\nx = "
    found = taken_apart(PSM["Qwen"](before, AFTER))

    assert found == Prompt(before=before, after=AFTER)


@pytest.mark.parametrize("name", PSM)
def test_what_follows_the_middle_is_how_it_begins(name: str) -> None:
    found = taken_apart(PSM[name](BEFORE, AFTER) + "3.14 * ")

    assert found is not None
    assert (found.before.split(), found.after) == ((BEFORE + "3.14 * ").split(), AFTER)


@pytest.mark.parametrize(
    ("head", "path"),
    [
        ("<|repo_name|>geo\n<|file_sep|>b.py\nx = 1\n<|file_sep|>src/area.py\n", "src/area.py"),
        ("<reponame>geo<filename>src/area.py\n", "src/area.py"),
        ("<file_sep>import os\n<file_sep>", ""),
        ("Context:\n\nimport os\n", ""),
        ("", ""),
    ],
)
def test_what_stands_before_it_names_the_file(head: str, path: str) -> None:
    for name in ("Qwen", "StarCoder"):
        found = taken_apart(head + PSM[name](BEFORE, AFTER))

        assert found == Prompt(before=BEFORE, after=AFTER, path=path)


@pytest.mark.parametrize(
    "text",
    [
        "def area(r):\n    return ",
        "",
        "if a < b > c: d",
        "<PRE>HTML of old</PRE>",
        "see [PREFIX] and [SUFFIX]",
        "[PREFIX]",
        "# <SUF> and\nx = ",
        "f <| prefix |> g; Map<Prefix> = Map<Suffix>; <prefix>a</prefix><suffix>b</suffix>",
        "a <|> b <|pretty|> c <[middleware]> d <|amid|>",
        "TOKENS = ('<PRE>', '<SUF>', '[PREFIX]', '[SUFFIX]', '<|PREFIX|>')\nprint(",
        'TOKENS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")\nprint(',
    ],
)
def test_a_text_without_them_is_no_prompt_of_this_kind(text: str) -> None:
    assert taken_apart(text) is None


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("<|fim_prefix|>x = <|fim_middle|>", "has <|fim_prefix|>, but lacks <|fim_suffix|>"),
        ("<fim_suffix>y", "lacks <fim_prefix> and <fim_middle>"),
        ("<|fim_middle|>a<|fim_suffix|>b<|fim_prefix|>", "has them in another order"),
        ("<fim_start>x = <fim_hole>y<fim_stop>", "has <fim_start>, which no known model reads"),
        ("<Fim_Prefix>x<Fim_Suffix>", "has <Fim_Prefix>, which no known model reads"),
        ("<|code_prefix|>a<|code_suffix|>b", "lacks <|code_middle|>. Write <|code_prefix|>"),
        ("<PRE> a <SUF>b", "has <PRE>, but lacks <MID>. Write <PRE> PREFIX <SUF>"),
        ("# language: c\n<SUF>b <MID>", "has <SUF>, but lacks <PRE>"),
        ("[PREFIX]a[SUFFIX]b", "in another order. Write [SUFFIX]SUFFIX[PREFIX]PREFIX"),
        ("<|PREFIX|>a<|SUFFIX|>b<|MIDDLE|>", "has <|PREFIX|>, which no known model reads"),
        ("a<|suffix|>b", "has <|suffix|>, which no known"),
        ("<|pre|>a<|suf|>b<|mid|>", "has <|pre|>, which no known"),
        ("<[prefix]>a<[suffix]>b", "has <[prefix]>, which no known"),
        ("<｜prefix｜>a", "has <｜prefix｜>, which no known"),
        ("<|fim_begin|>x = <|fim_hole|>y<|fim_end|>", "has <|fim_begin|>, which no known"),
    ],
)
def test_a_spelling_that_nobody_writes_is_said_with_the_remedy(prompt: str, says: str) -> None:
    with pytest.raises(PromptError) as error:
        taken_apart(prompt)

    assert says in str(error.value)
    assert '"suffix"' in str(error.value)
