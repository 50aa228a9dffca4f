"""An explanation as a page in Markdown, for editors."""

from collections.abc import Iterable, Iterator

from infill_ls.completion.explanation import Considered, Explanation, Step, Window

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
BLOCKS = ((0.2, "█"), (1.5, "▓"), (4.0, "▒"), (float("inf"), "░"))  # by nats of a cell


def verdict(explanation: Explanation) -> str:
    """What the page is about, in one sentence."""
    while_typing = "while typing" if explanation.asked == "typing" else "when asked for"
    if explanation.shown:
        return f"This is shown {while_typing}."
    return f"Nothing is shown {while_typing}: {explanation.why_not}."


def origin(text: Considered) -> str:
    """Where a text came from, in words."""
    copied = text.origin == "proposed" and text.source
    said = "copied" if copied else ORIGINS[text.origin]
    if not text.source:
        return said
    return f"{said}; the same stands behind the same {text.shared} characters at {text.source}"


def percent(confidence: float) -> str:
    return f"{100 * confidence:.0f} %"


def fate(text: Considered) -> str:
    match text.fate:
        case "shown":
            return "shown"
        case "refused":
            return f"refused: {text.why}"
        case _ if any(check.how == "checked" for check in text.checks):
            return "right here as well, but others were better"
        case _:
            return "not looked at closer: enough others were right"


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


def window_lines(window: Window) -> Iterator[str]:
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
        yield f"The judge read {window.judge_tokens:,} tokens before the cursor."
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


def markdown(explanation: Explanation) -> str:
    return "\n\n".join(_blocks(explanation)) + "\n"


def _blocks(explanation: Explanation) -> Iterator[str]:
    language = explanation.place.language
    yield f"# Why at {_code(str(explanation.place))}"
    yield _text(verdict(explanation))
    yield from (_fenced(text, language) for text in explanation.shown)
    yield from (_text(f"Also: {reason}.") for reason in explanation.before[1:])
    if explanation.before and explanation.considered:
        yield "What follows is what would be there, were it not for that."
    if explanation.considered:
        yield "## Every text that was considered"
    for number, text in enumerate(explanation.considered, 1):
        yield f"### {number}. {percent(text.confidence)}, {_text(fate(text))}"
        yield _fenced(text.said, language)
        yield _items(_remarks(text))
    if explanation.window is not None:
        yield "## What the models saw"
        yield _items(map(_text, window_lines(explanation.window)))
    if explanation.steps:
        yield "## The canvas, step by step"
        yield _fenced("\n".join(map(_step, explanation.steps)), "text")
    if explanation.ms is not None:
        yield "## Milliseconds"
        yield from _times(explanation)


def _remarks(text: Considered) -> Iterator[str]:
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
