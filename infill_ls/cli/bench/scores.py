"""How good an answer is, as numbers that anybody can recompute; and a baseline to beat.

Judges by its own means, not by those of the server: a candidate that the server let through by
mistake is found here.
"""

import ast
from collections import Counter
from functools import lru_cache

import tree_sitter

from infill_ls.cli.bench.cases import ONE_LINE, Case
from infill_ls.syntax.language import language_of

OVERLAP = 8  # characters of the suffix that an answer's end may not say first
CLOSERS = ")]}"
OPENER = {")": "(", "]": "[", "}": "{"}


def exact(answer: str, reference: str) -> bool:
    return answer.strip() == reference.strip()


def edit_similarity(answer: str, reference: str) -> float:
    """1 - Levenshtein distance / the longer length, of the stripped texts."""
    answer, reference = answer.strip(), reference.strip()
    longest = max(len(answer), len(reference))
    return 1 - _levenshtein(answer, reference) / longest if longest else 1.0


def _levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(diagonal + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


# A file is asked for once for every answer to its hole.
@lru_cache(maxsize=8)
def syntax_errors(language_id: str, text: str) -> int:
    """ERROR and MISSING nodes of a fresh parse; 0 for a language without a grammar."""
    grammar = language_of(language_id).grammar
    if grammar is None:
        return 0
    errors, left = 0, [tree_sitter.Parser(grammar).parse(text.encode()).root_node]
    while left:
        node = left.pop()
        errors += node.is_error or node.is_missing
        left += [c for c in node.children if c.has_error or c.is_error or c.is_missing]
    return errors


def adds_error(case: Case, answer: str) -> bool:
    """Whether the file is worse than the user had it, hole and all."""
    return _worse(case, case.prefix + case.suffix, case.prefix + answer + case.suffix)


def breaks(case: Case, answer: str) -> bool:
    """Whether the file is worse than with what really stood there: the stricter question.

    A file with a hole is often broken, and an answer may leave it so without adding an error.
    """
    original = case.prefix + case.reference + case.suffix
    return _worse(case, original, case.prefix + answer + case.suffix)


def _worse(case: Case, before: str, after: str) -> bool:
    count = syntax_errors(case.language_id, before)
    if syntax_errors(case.language_id, after) > count:
        return True
    return case.language_id == "python" and _compiles(before) and not _compiles(after)


@lru_cache(maxsize=8)
def _compiles(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def repeats_suffix(answer: str, suffix: str, line: str = "") -> bool:
    """Whether the answer's end says what follows the cursor anyway. `line` is what stands before it
    on its line.

    Its last line is the next one that is not blank; or its tail is the head of the suffix; or it
    closes a bracket that the suffix closes and nothing in it opened, nor in its line, where the
    suffix is on another one.
    """
    answer = answer.rstrip(" \t")
    following = next((line.strip() for line in suffix.split("\n") if line.strip()), "")
    last = answer.rstrip("\n").rpartition("\n")[2].strip()
    # A line of brackets alone may well stand twice: that is for the count below.
    if last and last == following and any(c.isalnum() for c in last):
        return True
    if _overlap(answer, suffix) >= OVERLAP:
        return True
    head = suffix.lstrip()[:1]
    here = suffix.partition("\n")[0].strip()
    opened = answer if here else line + answer
    return head in CLOSERS and _unopened(opened)[head] > 0 and answer.endswith(head)


def _overlap(answer: str, suffix: str) -> int:
    """The longest head of the suffix that ends the answer, white space at its ends left out."""
    for length in range(min(len(answer), len(suffix)), 0, -1):
        if answer.endswith(suffix[:length]) and suffix[:length].strip():
            return len(suffix[:length].strip())
    return 0


def _unopened(text: str) -> Counter[str]:
    """By kind, the closing brackets that close nothing in the text. Strings are not looked at."""
    unopened: Counter[str] = Counter()
    stack: list[str] = []
    for character in text:
        if character in OPENER.values():
            stack.append(character)
        elif character in CLOSERS:
            if stack and stack[-1] == OPENER[character]:
                stack.pop()
            else:
                unopened[character] += 1
    return unopened


def copied(case: Case) -> str:
    """n-gram copy, the baseline that only looks: what followed the longest context before.

    Finds the longest end of the prefix that stands somewhere else in the file (the nearest such
    place before the cursor, else the first behind it) and copies what follows it there: up to the
    line's end, or as many lines as the hole's kind may take while they are indented no less than
    the first. It stops before a closing bracket that nothing in the copy opened.
    """
    places = _longest_context(case.prefix, case.suffix)
    if places is None:
        return ""
    lines = places.split("\n")
    indent = len(case.prefix) - len(case.prefix.rstrip(" "))
    taken = lines[:1]
    if case.kind not in ONE_LINE:
        for line in lines[1 : case.max_lines]:
            if not line.strip() or len(line) - len(line.lstrip(" ")) < indent:
                break
            taken.append(line)
    return _closed("\n".join(taken))


def _longest_context(prefix: str, suffix: str) -> str | None:
    low, high, found = 0, min(len(prefix), 400), None
    while low < high:  # a longer context is found only where a shorter one is
        length = (low + high + 1) // 2
        at = prefix.rfind(prefix[-length:], 0, len(prefix) - 1)
        if at >= 0:
            low, found = length, prefix[at + length :] + suffix
        elif (at := suffix.find(prefix[-length:])) >= 0:
            low, found = length, suffix[at + length :]
        else:
            high = length - 1
    return found


def _closed(text: str) -> str:
    depth = 0
    for at, character in enumerate(text):
        depth += (character in OPENER.values()) - (character in CLOSERS)
        if depth < 0:
            return text[:at]
    return text


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so many are not above."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]
