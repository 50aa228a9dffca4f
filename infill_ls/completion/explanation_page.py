"""An explanation as a page in Markdown, for editors."""

from collections.abc import Iterable, Iterator, Sequence

from infill_ls.completion.explanation import Considered, Explanation, OnScreen, Step, Window
from infill_ls.completion.heads import SHOWN_FROM, percent

ORIGINS = {
    "denoised": "denoised on the canvas",
    "proposed": "proposed: how the text before the cursor goes on",
    "written": "written by the judge",
    "": "from the model",
}
CHECKS = {
    "said": "as it was said",
    "checked": "parsed in the file",
    "renoised": "filled again where the parser blamed it",
    "cut back": "cut back",
    "head": "a beginning that is probable enough",
}
LEFT_OUT = {
    "encoding": "the drafting model had not read the text",
    "denoising": "the canvas had not settled",
    "proposals": "what could be copied was not looked at",
    "reading": "the judge had not read the text before the cursor, and ranked nothing",
    "judging": "the judge ranked nothing",
    "texts": "the judge ranked some of the texts alone",
    "lines": "the judge did not go on with further lines",
    "blocks": "a text that filled the canvas was not gone on with",
    "checks": "not everything was checked",
    "mending": "what the parser blamed was not filled again",
}
ON_SCREEN = "this is on the screen"
ASKED_FOR = "Who asks is shown what the models rank first, however sure they are."
ALONE = "A percentage is how likely a text is all that belongs here, and nothing else."
BEGINNINGS = (
    "While typing, beginnings are shown: all texts that begin so speak for one. How probable it is "
    "follows from the sum of how likely they are and from what nobody thought of, as it was "
    "measured on other code."
)
BLOCKS = ((0.2, "█"), (1.5, "▓"), (4.0, "▒"), (float("inf"), "░"))  # by nats of a cell


def verdict(explanation: Explanation) -> str:
    """What the models say now, in one sentence; `on_screen` is what they said before."""
    while_typing = "while typing" if explanation.asked == "typing" else "when asked for"
    seen = explanation.on_screen
    if is_same(explanation):
        return f"Asked anew, the models say the same: this is shown {while_typing}."
    if explanation.shown:
        this = "Asked anew for this page, they say this, which would be" if seen else "This is"
        return f"{this} shown {while_typing}."
    nothing = "Asked anew for this page, nothing would be" if seen else "Nothing is"
    return f"{nothing} shown {while_typing}: {explanation.why_not}."


def is_same(explanation: Explanation) -> bool:
    """Whether what is said now is on the screen."""
    seen = explanation.on_screen
    return seen is not None and seen.text in explanation.shown


def gist(explanation: Explanation) -> str:
    """The page in a message."""
    seen = explanation.on_screen
    return f"{screen(seen)} {verdict(explanation)}" if seen else verdict(explanation)


def screen(seen: OnScreen) -> str:
    """Where what is on the screen comes from."""
    key = "while typing" if seen.asked == "typing" else "when asked for"
    said = f"On the screen is what is left of the answer at {seen.line}:{seen.column} ({key})"
    if not seen.typed:
        return f"On the screen is the answer that was given here before ({key})."
    return f"{said}: {seen.typed!r} of it was typed since, and no model was asked for that."


def too_little_time(explanation: Explanation, remedy: str) -> str:
    """What the time was over for, and what gives more; "" where there was enough."""
    if not explanation.left_out:
        return ""
    said = "; ".join(LEFT_OUT[each] for each in explanation.left_out)
    ms = explanation.deadline_ms
    given = f" ({ms:.0f} ms)" if ms is not None else ""
    return f"There was too little time{given}: {said}. {remedy} gives more."


def setting(explanation: Explanation) -> str:
    """What an editor gives more time by."""
    return "infill.deadlineMs" if explanation.asked == "typing" else "infill.deadlineInvokedMs"


def scale(explanation: Explanation) -> str:
    """What the percentages of the texts are."""
    return ALONE if explanation.asked == "typing" else f"{ALONE} {ASKED_FOR}"


def beginnings(explanation: Explanation) -> Iterator[str]:
    """A line for each beginning that decided, without its text."""
    for each in explanation.beginnings:
        parts = [
            f"{number} ({percent(explanation.considered[number - 1].confidence)})"
            for number in each.of
        ]
        of = f"text {parts[0]} begins" if len(parts) == 1 else f"texts {', '.join(parts)} begin"
        together = f", together {percent(each.together)}" if len(parts) > 1 else ""
        said = each.why or "shown"
        if each.confidence < each.least:
            said = "not shown"
        yield (
            f"{percent(each.confidence)}, {percent(each.least)} is needed: {said}; "
            f"{of} so{together}"
        )


def origin(text: Considered) -> str:
    """Where a text came from, in words."""
    copied = text.origin == "proposed" and text.source
    said = "copied" if copied else ORIGINS[text.origin]
    if not text.source:
        return said
    return f"{said}; the same stands behind the same {text.shared} characters at {text.source}"


def fate(text: Considered) -> str:
    match text.fate:
        case "shown" if text.as_shown not in ("", text.said):
            return f"shown, as far as {text.as_shown!r}"
        case "shown":
            return "shown"
        case "refused":
            return f"refused: {text.why}"
        case _ if any(check.how == "checked" for check in text.checks):
            return f"right here as well: {text.spared}"
        case _:
            return f"not looked at closer: {text.spared}"


def strip(step: Step) -> str:
    """The canvas from afar: a block per cell, thinner the less is known; `·` is its end."""
    marks = []
    for cell in step.cells:
        if cell.state == "end":
            marks.append("·")
        elif cell.state == "noise":
            marks.append(next(block for bound, block in BLOCKS if cell.entropy <= bound))
        else:
            marks.append("■" if cell.state == "pinned" else "█")
    return "".join(marks)


def window_lines(window: Window, left_out: Sequence[str] = ()) -> Iterator[str]:
    """What the models had to go by, a sentence a line."""
    yield (
        f"{window.prefix:,} of the {window.before:,} characters before the cursor and "
        f"{window.suffix:,} of the {window.after:,} after it were given to the engine."
    )
    if window.prefix_tokens is not None and window.suffix_tokens is not None:
        yield (
            f"The drafting model read {window.prefix_tokens:,} tokens before the cursor and "
            f"{window.suffix_tokens:,} after it."
        )
    if window.judge_tokens:
        then = ", and had no time to rank any text" if "judging" in left_out else ""
        yield f"The judge read {window.judge_tokens:,} tokens before the cursor{then}."
    if window.neighbours:
        yield f"{len(window.neighbours)} snippets of other files were read."
    if window.num_searched:
        characters = sum(file.characters for file in window.searched)
        named = ", ".join(f"{file.path}" for file in window.searched)
        more = window.num_searched - len(window.searched)
        yield (
            f"{window.num_searched} other files were searched for what can be copied, the "
            f"likeliest first ({characters:,} characters): {named}"
            + (f" and {more} more." if more else ".")
        )
    else:
        yield "No other files were at hand."


def learned(explanation: Explanation) -> str:
    """What the user's own choices have to do with it; "" where they have not."""
    model = explanation.model
    if explanation.doubt == 1 or model is None or not model.shown_from:
        return ""
    did = "dismissed" if explanation.doubt > 1 else "accepted"
    return (
        f"You {did} more of what was shown in {explanation.place.language} than its confidence "
        f"said, so while typing it is shown from {percent(model.shown_from)}, not "
        f"{percent(SHOWN_FROM)}. infill-ls stats --reset, or infill.resetLearned in an editor, "
        "forgets that."
    )


def markdown(explanation: Explanation) -> str:
    return "\n\n".join(_blocks(explanation)) + "\n"


def _blocks(explanation: Explanation) -> Iterator[str]:
    language = explanation.place.language
    yield f"# Why at {_code(str(explanation.place))}"
    if (seen := explanation.on_screen) is not None:
        yield _text(screen(seen))
        yield _fenced(seen.text, language)
    yield _text(verdict(explanation))
    if not is_same(explanation):
        yield from (_fenced(text, language) for text in explanation.shown)
    if too_little := too_little_time(explanation, setting(explanation)):
        yield _text(too_little)
    if doubted := learned(explanation):
        yield _text(doubted)
    yield from (_text(f"Also: {reason}.") for reason in explanation.before[1:])
    if explanation.before and explanation.considered:
        yield "What follows is what would be there, were it not for that."
    if explanation.beginnings:
        yield f"## What decided\n\n{BEGINNINGS}"
        said = zip(explanation.beginnings, beginnings(explanation), strict=True)
        yield _items(f"{_code(each.text)}: {_text(line)}" for each, line in said)
    if explanation.considered:
        yield f"## Every text that was considered\n\n{scale(explanation)}"
    for number, text in enumerate(explanation.considered, 1):
        yield f"### {number}. {percent(text.confidence)}, {_text(fate(text))}"
        yield _fenced(text.said, language)
        yield _items(_remarks(text, explanation.on_screen))
    if explanation.window is not None:
        yield "## What the models saw"
        yield _items(map(_text, window_lines(explanation.window, explanation.left_out)))
    if explanation.steps:
        yield "## The canvas, step by step"
        yield _fenced("\n".join(map(_step, explanation.steps)), "text")
    if explanation.ms is not None:
        yield "## Milliseconds"
        yield from _times(explanation)


def _remarks(text: Considered, seen: OnScreen | None) -> Iterator[str]:
    if seen is not None and text.said == seen.text:
        yield ON_SCREEN
    yield _text(origin(text))
    yield from map(_text, figures(text))
    for said, another in checked(text):
        yield _text(said) + (f", {_code(another)}" if another else "")


def figures(text: Considered) -> Iterator[str]:
    """The numbers behind the confidence."""
    measured = {"a token": text.likelihood, "a token of what follows": text.join}
    said = [f"{value:.2f} nats {name}" for name, value in measured.items() if is_number(value)]
    if said:
        yield "drafting model: " + ", ".join(said)
    if text.evidence:
        yield "judge, in nats: " + ", ".join(f"{n} {v:.2f}" for n, v in text.evidence.items())


def is_number(value: float | None) -> bool:
    return value is not None and value == value


def checked(text: Considered) -> Iterator[tuple[str, str]]:
    """What each look at a text said, and the text where it was another one by then; without what
    its fate says."""
    for check in text.checks:
        if check.why and check.why == text.why:
            continue
        another = check.text if check.text not in ("", text.said) else ""
        yield f"{CHECKS[check.how]}: {check.why or 'nothing against it'}", another


def _step(step: Step) -> str:
    again = f"again {step.run - 1}, " if step.run > 1 else ""
    text = step.text.replace("\\", "\\\\").replace("\n", "\\n")
    line = f"{again}step {step.step:>2}  entropy {step.entropy:5.2f}  {strip(step)}  {text}"
    return line.rstrip()


def _times(explanation: Explanation) -> Iterator[str]:
    ms, model = explanation.ms, explanation.model
    assert ms is not None, "asked about where there are some"
    stages = (ms.context, ms.encode, ms.denoise, ms.judge, ms.validate, ms.total)
    yield "\n".join(
        [
            "| context | encode | denoise | judge | checks | in all |",
            "|---|---|---|---|---|---|",
            "| " + " | ".join(f"{each:.1f}" for each in stages) + " |",
        ]
    )
    if model is not None:
        judge = f"; judge: {model.judge}" if model.judge else ""
        yield _text(f"{model.name} on {model.device}{judge}.")


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language if language.isalnum() else ''}\n{text}\n{fence}"


def _code(text: str) -> str:
    """On one line, whatever is in it."""
    text = text.replace("\n", "\\n")
    ticks = "`"
    while ticks in text:
        ticks += "`"
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _text(text: str) -> str:
    """Without what Markdown would take for its own."""
    return "".join(f"\\{each}" if each in "\\`*_[]<>|#" else each for each in text)
