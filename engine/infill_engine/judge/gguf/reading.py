"""What a GGUF judge says behind a prompt that it has read. Implements `Reading`.

Its own greedy text is found by verifying: drafts that agree with what it has said so far are read
as a tree in one pass, it takes of them what it would have said itself and one token more, and asks
for drafts behind that. Whatever the drafts are, the text is the same.

A line ends in two ways: by a token that says so, or by one that says its last letters and the line
break in one; both count.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import Budget
from infill_engine.copying import up_to
from infill_engine.judge.calibration import Calibration
from infill_engine.judge.gguf.tree import Tree, total
from infill_engine.judge.gguf.vocabulary import GgufVocabulary
from infill_engine.judge.judge import Drafts, Judge, Judgement, Reading, behind_line, ends_line
from infill_engine.request import InfillRequest

LINE_TOKENS, BLOCK_TOKENS = 48, 160
BRANCHED = 24  # drafts that a pass verifies
SUFFIX_TOKENS, SUFFIX_CHARACTERS = 8, 200  # of what follows the hole, where the prompt has it not


@dataclass(slots=True)
class Verified:
    """What a judge has said so far, its ends included, and the passes that it took once the prompt
    was read. Without a draft that is one token less than there are. `ids` are the last text's."""

    tokens: int = 0
    passes: int = 0
    ids: list[int] = field(default_factory=list)

    @property
    def tokens_per_pass(self) -> float:
        return self.tokens / max(self.passes, 1)


@dataclass(frozen=True, slots=True)
class _Row:
    """The tokens of a middle and of what is read of what follows; `middle` are how many the middle
    has."""

    ids: list[int]
    middle: int


def _nothing(said: str) -> Sequence[str]:
    """The drafts of who has none."""
    return ()


class GgufReading:
    def __init__(
        self,
        *,
        tree: Tree,
        vocabulary: GgufVocabulary,
        request: InfillRequest,
        healed: bytes,
        exact: bool,
        drafted: int,
        drafter: Judge | None,
        calibration: Calibration,
        verified: Verified,
    ) -> None:
        self._tree, self._vocabulary, self._healed = tree, vocabulary, healed
        self._request, self._most_drafted, self._drafter = request, drafted, drafter
        self._suffix, self._most_lines = request.suffix, request.max_lines
        line = request.prefix.rpartition("\n")[2]
        self._indentation = line[: len(line) - len(line.lstrip())]
        # A hole that ends where its line ends may as well be said to go on behind the line break.
        blank = ends_line(request.suffix)
        self._fills = vocabulary.fim is not None
        self._by_line = request.max_lines == 1 or not self._fills
        self._line_ends = self._by_line and blank
        self._exact, self._calibration, self._verified = exact, calibration, verified
        self._said: str | None = None

    @property
    def calibration(self) -> Calibration:
        return self._calibration

    @property
    def prefix_tokens(self) -> int:
        return self._tree.start

    @property
    def whole(self) -> bool:
        return True

    def ahead(self, budget: Budget) -> None:
        """Nothing: a pass is dear, and its tree is gone with this reading."""

    def continuations(self, drafts: Drafts, budget: Budget) -> list[str]:
        self._said = self.say(drafts, budget)
        return [self._said] if self._said else []

    def judge(
        self, middles: Sequence[str], priors: Sequence[float], budget: Budget
    ) -> list[Judgement | None]:
        """Only of its own text where that is what is asked for."""
        rows = [
            None if self._exact and middle != self._said else self._row(middle)
            for middle in middles
        ]
        self._tree.grow([row.ids for row in rows if row is not None], budget)
        judgement = self._filled if self._fills else self._followed
        return [None if row is None else judgement(row) for row in rows]

    def aside(self, budget: Budget) -> list[str]:
        """None: there is no larger judge that it drafts for."""
        return []

    def further(self, middle: str, lines: int, budget: Budget) -> list[str]:
        """None where the model sees the suffix: it has said all of the hole."""
        found: list[str] = []
        if self._fills or self._exact:
            return found
        for _ in range(lines):
            # A line break may be said together with what follows it.
            ids, owed = self._vocabulary.encode(self._healed.decode() + middle), b"\n"
            said = self._greedy(ids, owed, lambda text: "\n" in text, _nothing, budget)
            if said is None:
                break
            line = self._text(said, owed).partition("\n")[0]
            if line.strip() and not line.startswith(self._indentation):
                break
            if line.strip() == self._suffix.lstrip().partition("\n")[0].strip():
                break
            middle = f"{middle}\n{line}"
            found.append(middle.rstrip())
        return list(dict.fromkeys(found))

    def say(self, drafts: Drafts, budget: Budget) -> str | None:
        """Its own greedy text up to the end of the line, or of the hole where more lines are
        wanted; None where it came to no end."""
        passes = self._tree.passes

        def all_drafts(said: str) -> Iterable[str]:
            reading = self._drafting(said, budget)
            if reading is not None:
                yield from reading.continuations(_nothing, budget)
            yield from drafts(said)
            if reading is not None:
                yield from reading.aside(budget)

        said = self._greedy([], self._healed, self._ends, all_drafts, budget)
        if said is None:
            return None
        self._verified.ids = said
        self._verified.tokens += len(said)
        self._verified.passes += self._tree.passes - passes
        return self._cut(self._text(said, self._healed))

    def _drafting(self, said: str, budget: Budget) -> Reading | None:
        """The drafting judge behind what was said."""
        if self._drafter is None:
            return None
        request = replace(self._request, prefix=self._request.prefix + said)
        return self._drafter.read(request, budget)

    def _greedy(
        self,
        behind: list[int],
        owed: bytes,
        ends: Callable[[str], bool],
        drafts: Drafts,
        budget: Budget,
    ) -> list[int] | None:
        """The tokens that are likeliest behind some others, where the text has to begin with what
        is owed; None where they came to no end."""
        path = self._tree.grow([behind], budget)[0]
        if len(path) <= len(behind):
            return None
        node, ids = path[-1], list[int]()
        for _ in range(LINE_TOKENS if self._by_line else BLOCK_TOKENS):
            token = self._likeliest(node, self._owed(owed, ids))
            ids.append(token)
            text = self._text(ids, owed)
            if not self._vocabulary.token_bytes[token] or ends(text):
                return ids
            if self._tree.child(node, token) is None:
                if not self._tree.has_room(self._most_drafted + 1, BRANCHED):
                    node = self._tree.prune(node)
                drafted = self._drafted(ids, owed, text, drafts)
                self._tree.grow([[*behind, *path] for path in (ids, *drafted)], budget)
            child = self._tree.child(node, token)
            if child is None:
                return None
            node = child
        return None

    def _likeliest(self, node: int, owed: bytes) -> int:
        logits = self._tree.logits(node)
        if owed:
            logits = np.where(self._vocabulary.allowed(owed), logits, -np.inf)
        return int(logits.argmax())

    def _drafted(
        self, ids: list[int], owed: bytes, text: str, drafts: Drafts
    ) -> Iterator[list[int]]:
        """What may follow ids, as paths, best first, and no more tokens of it than are verified."""
        seen: set[tuple[int, ...]] = set()
        for rest in islice(drafts(text), BRANCHED - 1):
            path = self._vocabulary.encode(owed.decode() + text + rest)
            if path[: len(ids)] != ids:  # it has put together what stands there otherwise
                path = [*ids, *self._vocabulary.encode(rest)]
            size = len(ids)
            while size < len(path) and len(seen) < self._most_drafted:
                size += 1
                seen.add(tuple(path[len(ids) : size]))
            yield path[:size]
            if len(seen) >= self._most_drafted:
                return

    def _owed(self, owed: bytes, ids: Sequence[int]) -> bytes:
        """What is left of it behind ids."""
        return owed[sum(len(self._vocabulary.token_bytes[token]) for token in ids) :]

    def _text(self, ids: list[int], owed: bytes) -> str:
        """What ids say behind what was owed."""
        return self._vocabulary.decode(ids)[len(owed) :].decode("utf-8", "ignore")

    def _ends(self, text: str) -> bool:
        if self._by_line:
            return "\n" in text or (not self._fills and len(self._cut(text)) < len(text.rstrip()))
        return self._most_lines is not None and text.count("\n") >= self._most_lines

    def _cut(self, text: str) -> str:
        if self._by_line:
            line = text.partition("\n")[0]
            return line if self._fills else up_to(self._suffix, line)
        return "\n".join(text.split("\n")[: self._most_lines])

    def _row(self, middle: str) -> _Row:
        behind = "" if self._fills else self._suffix[:SUFFIX_CHARACTERS]
        ids = self._vocabulary.encode(self._healed.decode() + middle + behind)
        size, at = len(self._healed) + len(middle.encode()), 0
        for token in ids:
            size -= len(self._vocabulary.token_bytes[token])
            if size < 0:
                break
            at += 1
        return _Row(ids[: at + SUFFIX_TOKENS], at)

    def _nats(self, row: _Row, path: Sequence[int]) -> list[float]:
        return [
            self._among(node, np.array([token]), self._owed(self._healed, row.ids[:at]))
            for at, (node, token) in enumerate(zip(path, row.ids, strict=False))
        ]

    def _followed(self, row: _Row) -> Judgement | None:
        """By the tokens of what follows the hole."""
        path = self._tree.known(row.ids)
        if len(path) < max(len(row.ids), row.middle + 1):
            return None
        nats = self._nats(row, path)
        middle, suffix = sum(nats[: row.middle]), sum(nats[row.middle :])
        if ends_line(self._suffix):
            ends = np.concatenate((self._vocabulary.ends, self._vocabulary.line_ends))
            suffix = behind_line(suffix, self._among(path[row.middle], ends))
        return Judgement(middle=middle, suffix=suffix, tokens=SUFFIX_TOKENS)

    def _filled(self, row: _Row) -> Judgement | None:
        """By the end of the hole."""
        path = self._tree.known(row.ids)
        if len(path) <= len(row.ids):
            return None
        nats = self._nats(row, path)
        ends = self._vocabulary.ends
        if self._line_ends:
            ends = np.concatenate((ends, self._vocabulary.line_ends))
        apart = sum(nats)
        middle, whole = apart, apart + self._among(path[-1], ends)
        if self._line_ends and row.ids:
            last = self._vocabulary.token_bytes[row.ids[-1]]
            both = np.array(self._vocabulary.beginning_with(last + b"\n"), np.int64)
            before = self._owed(self._healed, row.ids[:-1])
            together = sum(nats[:-1]) + self._among(path[-2], both, before)
            middle, whole = np.logaddexp(middle, together), np.logaddexp(whole, together)
        return Judgement(middle=float(middle), suffix=float(whole - middle), tokens=1)

    def _among(self, node: int, tokens: NDArray[np.int64], owed: bytes = b"") -> float:
        """The log-probability that one of the tokens comes next, among those that go on with what
        is owed."""
        logits = self._tree.logits(node)
        if not owed:
            return total(logits[tokens]) - self._tree.total(node)
        allowed = self._vocabulary.allowed(owed)
        return total(logits[tokens[allowed[tokens]]]) - total(logits[allowed])
