"""The embedded judge: a small Llama in this process. Implements `Judge`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import Budget
from infill_engine.copying import up_to
from infill_engine.judge.calibration import Calibration
from infill_engine.judge.judge import Drafts, JudgeInfo, Judgement, behind_line, ends_line
from infill_engine.judge.network import Llama, Prefix
from infill_engine.judge.recurring import Recurring
from infill_engine.judge.tree import Tree
from infill_engine.judge.vocabulary import CONTROLS, END_OF_TEXT, JudgeVocabulary
from infill_engine.models.two_sided.inference import Floats
from infill_engine.models.two_sided.kv_cache import common_length
from infill_engine.request import FILE_END, InfillRequest
from infill_engine.windows import last_tokens, prefix_window

# Tokens before the cursor that are read: as many as are worth it (train/LOG.md) when nobody waits,
# and the last of them when somebody comes to a place where all would take WORTH_WAITING seconds
# more.
FAR, NEAR = 512, 256
WORTH_WAITING = 0.3
CHARACTERS_PER_TOKEN = 3.6
CHUNK = 16  # tokens of a prefix that one thread reads between two looks at the budget
PLACES = 3  # whose prefixes are kept
WORTH_REUSING = 64  # tokens, below which another place is being edited
TREE = 640  # nodes
# Lines that the judge itself would write: how many, of how many tokens. What is so many nats behind
# the best is given up.
BEAMS, LINE_TOKENS, GIVEN_UP = 4, 32, 2.5
BEHIND = 4.0  # nats by which what follows the hole may turn an order round
SHALLOW = 2  # tokens that are read of every draft; of those that keep up twice as many, and so on
LEAST_LIKELY = math.log(0.5)  # of a further line
FIRST_TOKENS = 64  # among which one with a line break is looked for
# Of so many middles, none that is so many nats behind the best, so many tokens of what follows on
# their line are read.
LOOKS = ((2, 4, BEHIND), (2, 8, 2.0))
SUFFIX_CHARACTERS = 200
# Characters of the file, on both sides of the hole, where what was said before is looked for; and
# of other files how many become tokens in a second, at least.
RECURRING, ENCODED_A_SECOND = (24_000, 12_000), 500_000


class LlamaJudge:
    """Writes `beams` lines of its own. Not thread-safe: one caller at a time."""

    beams = BEAMS

    def __init__(self, network: Llama, vocabulary: JudgeVocabulary, info: JudgeInfo) -> None:
        self.network, self.vocabulary, self._info = network, vocabulary, info
        self._far, self._near = _Places(network, FAR), _Places(network, NEAR)
        self._tree: Tree | None = None  # behind the prefix that was used last
        self._caches: tuple[NDArray[Any], NDArray[Any]] | None = None  # of trees
        self._here, self._elsewhere = _looked_through(), _looked_through()
        self._ends = network.embed(vocabulary.line_ends)

    def describe(self) -> JudgeInfo:
        return self._info

    def read(self, request: InfillRequest, budget: Budget) -> "LlamaReading | None":
        far, healed = self._prefix_of(request.prefix)
        near = [END_OF_TEXT, *last_tokens(far[1:], NEAR - 1)]
        whole = len(near) == len(far) or self._worth_waiting(far, near, budget)
        places, ids = (self._far, far) if whole else (self._near, near)
        # No place is given up for another that there is no time to read.
        if places.new(ids) == len(ids) and not self._soon(len(ids), budget):
            return None
        prefix = places.nearest(ids)
        tree = self._tree_of(prefix, ids, healed)
        if tree is None and not self._push(prefix, ids, budget):
            return None
        if tree is None or 2 * len(tree) > TREE:
            # Of trees one is in use at a time, and fresh memory takes a token's time.
            self._caches = self._caches or self.network.caches(1, TREE)
            tree = Tree(self.network, self.vocabulary, prefix, TREE, healed, self._caches)
        tree.among(*self._around(request, budget))
        self._tree = tree
        return LlamaReading(
            network=self.network,
            vocabulary=self.vocabulary,
            tree=tree,
            healed=healed,
            suffix=request.suffix,
            indentation=_indentation(request.prefix.rpartition("\n")[2]),
            calibration=self._info.calibration,
            beams=self.beams,
            ends=self._ends,
            whole=whole,
        )

    def _worth_waiting(self, far: list[int], near: list[int], budget: Budget) -> bool:
        """Whether what is far off is read as well."""
        new = self._far.new(far)
        more = new - self._near.new(near)
        if more <= 0 or budget.deadline == math.inf:
            return True
        return self._soon(new, budget) and self.network.seconds(more) <= WORTH_WAITING

    def _soon(self, new: int, budget: Budget) -> bool:
        """Whether so many tokens leave half of the time for all else; what takes more is left for
        when nobody waits."""
        return not new or self.network.seconds(new) <= budget.left() / 2

    def forget(self) -> None:
        self._far, self._near = _Places(self.network, FAR), _Places(self.network, NEAR)
        self._tree = self._caches = None
        self._here, self._elsewhere = _looked_through(), _looked_through()

    def _around(self, request: InfillRequest, budget: Budget) -> tuple[Recurring, ...]:
        """The lines around the cursor's own, which is left out so that they stay while it is
        typed, and other files where they are known or there is time for them."""
        before, after = RECURRING
        # Nor the line break before it: what follows that would be the end of this part.
        end = max(request.prefix.rfind("\n"), 0)
        here = request.prefix[max(0, end - before) : end], request.suffix[:after]
        if self._here[0] != here:
            self._here = here, Recurring(map(self.vocabulary.encode, here))
        elsewhere = (request.elsewhere,)
        if self._elsewhere[0] != elsewhere:
            if len(request.elsewhere) / ENCODED_A_SECOND > budget.left() / 2:
                return (self._here[1],)
            files = request.elsewhere.split(FILE_END)
            self._elsewhere = elsewhere, Recurring(map(self.vocabulary.encode, files))
        return self._here[1], self._elsewhere[1]

    def _tree_of(self, prefix: Prefix, ids: list[int], healed: bytes) -> Tree | None:
        """What is known of how ids go on, after typing what the tree has; it is used up."""
        tree, size = self._tree, len(prefix.ids)
        if tree is None or tree.prefix is not prefix:
            return None
        self._tree = None
        if not size or ids[:size] != prefix.ids:
            return None
        return tree.descend(ids[size:], healed)

    def _push(self, prefix: Prefix, ids: list[int], budget: Budget) -> bool:
        """Whether the budget lasts for the prefix to be what ids are."""
        if prefix.ids == ids:
            return True
        # The last token is read again where nothing is new: the state behind it is what goes on.
        kept = common_length(prefix.ids, ids)
        kept = min(kept, len(ids) - 1) if kept < len(prefix.ids) else kept

        def going() -> bool:
            return self.network.seconds(CHUNK) <= budget.left()

        if not (self._soon(len(ids) - kept, budget) and going()):
            return False
        # Only now, for the state is that behind the last of its tokens: something is read.
        del prefix.ids[kept:]
        chunk = CHUNK if self.network.threads == 1 else len(ids)
        while len(prefix.ids) == kept or (len(prefix.ids) < len(ids) and going()):
            self.network.push(prefix, ids[len(prefix.ids) : len(prefix.ids) + chunk], going)
        return len(prefix.ids) == len(ids)

    def _prefix_of(self, text: str) -> tuple[list[int], bytes]:
        """The tokens to read, and the bytes of the last one, which is taken back."""
        room = int(FAR * CHARACTERS_PER_TOKEN)
        ids = last_tokens(self.vocabulary.encode(prefix_window(text, room)), FAR - 1)
        healed = b""
        if ids:
            healed = self.vocabulary.token_bytes[ids[-1]]
            try:
                healed.decode("utf-8")
            except UnicodeDecodeError:
                healed = b""
        return [END_OF_TEXT, *(ids[:-1] if healed else ids)], healed


class _Places:
    """What was read of the last PLACES, each of at most so many tokens."""

    def __init__(self, network: Llama, tokens: int) -> None:
        self._network, self._tokens = network, tokens
        self._prefixes: list[Prefix] = []  # the one that was used last comes last

    def new(self, ids: list[int]) -> int:
        """How many of these tokens are still to be read."""
        shared = max((common_length(each.ids, ids) for each in self._prefixes), default=0)
        return len(ids) - (shared if self._reused(shared, ids) else 0)

    def nearest(self, ids: list[int]) -> Prefix:
        """The prefix that shares most with ids, or a new one."""
        shared = [common_length(prefix.ids, ids) for prefix in self._prefixes]
        best = max(shared, default=0)
        if self._prefixes and self._reused(best, ids):
            prefix = self._prefixes.pop(shared.index(best))
        elif len(self._prefixes) == PLACES:
            prefix = self._prefixes.pop(0)
            prefix.ids.clear()
        else:
            prefix = self._network.prefix(self._tokens)
        self._prefixes.append(prefix)
        return prefix

    @staticmethod
    def _reused(shared: int, ids: list[int]) -> bool:
        return shared >= min(WORTH_REUSING, len(ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaReading:
    """Implements `Reading`."""

    network: Llama
    vocabulary: JudgeVocabulary
    tree: Tree
    healed: bytes
    suffix: str
    indentation: str
    calibration: Calibration
    beams: int
    ends: Floats
    whole: bool

    @property
    def prefix_tokens(self) -> int:
        return len(self.tree.prefix.ids)

    def ahead(self, budget: Budget) -> None:
        self._lines(budget)

    def continuations(self, drafts: Drafts, budget: Budget) -> list[str]:
        return list(dict.fromkeys(map(self._text, self._lines(budget)[0])))

    def aside(self, budget: Budget) -> list[str]:
        return list(dict.fromkeys(map(self._text, self._lines(budget)[1])))

    def _lines(self, budget: Budget) -> "tuple[list[_Line], list[_Line]]":
        """Beam search: whole lines that are not blank, and the heads of others that it let go of;
        the likeliest first. However a line ends, it is one: as likely as all its ends together."""
        going, ended, aside = [_Line()], dict[str, _Line](), list[_Line]()
        for _ in range(LINE_TOKENS):
            going = self._worth_it(going, [*ended.values()])
            if not going or budget.over:
                break
            paths = self.tree.grow([line.ids for line in going], budget)
            if any(len(path) <= len(line.ids) for path, line in zip(paths, going, strict=True)):
                break
            said = self.tree.likeliest([path[-1] for path in paths], self.beams)
            longer = [
                _Line((*line.ids, token), line.nats + nats)
                for line, tokens in zip(going, said, strict=True)
                for token, nats in tokens
            ]
            going = []
            for line in sorted(longer, key=lambda line: -line.nats):
                if self._goes_on(line):
                    (going if len(going) < self.beams else aside).append(line)
                elif (text := self._text(line)).strip():
                    other = ended.get(text, _Line(line.ids, -math.inf))
                    ended[text] = _Line(other.ids, float(np.logaddexp(other.nats, line.nats)))
        best = sorted(ended.values(), key=lambda line: -line.nats)[: self.beams]
        return best, sorted(aside, key=lambda line: -line.nats)

    def further(self, middle: str, lines: int, budget: Budget) -> list[str]:
        ids = self.vocabulary.encode(self.healed.decode() + middle)
        found: list[str] = []
        nats = 0.0  # of the line that is being said
        for number in range(lines * LINE_TOKENS):
            (path,) = self.tree.grow([ids], budget)
            if len(path) <= len(ids) or len(found) == lines:
                break
            (likely,) = self.tree.likeliest([path[-1]], 1 if number else FIRST_TOKENS)
            # The line ends first, by whatever token a line break begins.
            breaks = (each for each in likely if number or self._breaks(each[0]))
            token, likelihood = next(breaks, (END_OF_TEXT, 0.0))
            nats += likelihood if number else 0.0
            if token < CONTROLS or nats < LEAST_LIKELY:
                break
            ids.append(token)
            text = self.vocabulary.decode(ids)[len(self.healed) :].decode("utf-8", "ignore")
            before, _, line = text.rpartition("\n")
            if line.strip() and not line.startswith(self.indentation):
                break
            if number and "\n" in self.vocabulary.token_bytes[token].decode("utf-8", "ignore"):
                last = before.rstrip().rpartition("\n")[2]
                if last.strip() == self.suffix.lstrip().partition("\n")[0].strip():
                    break
                found.append(before.rstrip())
                nats = 0.0
        return list(dict.fromkeys(found))

    def _breaks(self, token: int) -> bool:
        return self.vocabulary.token_bytes[token].startswith(b"\n")

    def _worth_it(self, going: "list[_Line]", ended: "list[_Line]") -> "list[_Line]":
        """The lines that may still be among the best."""
        best = max((line.nats for line in [*ended, *going]), default=0.0)
        enough = sorted((line.nats for line in ended), reverse=True)[self.beams - 1 : self.beams]
        least = max([best - GIVEN_UP, *enough])
        return [line for line in going if line.nats > least]

    def judge(
        self, middles: Sequence[str], priors: Sequence[float], budget: Budget
    ) -> list[Judgement | None]:
        rows = [self._row(middle) for middle in middles]
        found = self._first_look(rows, priors, budget)
        kept = [at for at, judgement in enumerate(found) if judgement is not None]
        for most, count, behind in () if ends_line(self.suffix) else LOOKS:
            kept = self._best(kept, found, priors, behind)[:most]
            taken = self.network.seconds(len(kept) * count)
            if len(kept) < 2 or taken > budget.left():
                break
            closer = self._judgements([rows[at] for at in kept], count, budget)
            if None in closer:
                break
            for at, judgement in zip(kept, closer, strict=True):
                found[at] = judgement
        return found

    def _first_look(
        self, rows: "Sequence[_Row]", priors: Sequence[float], budget: Budget
    ) -> list[Judgement | None]:
        """With one token of what follows each. What falls too far behind on the way is not read to
        its end, and as likely as it may still be; None of rows that could not be read."""
        found: list[Judgement | None] = [None] * len(rows)
        best = -math.inf

        def look(at_first: Sequence[int], size: int) -> list[int]:
            """So many tokens of each; which go on and may still be the best."""
            nonlocal best
            going: dict[int, float] = {}
            heads = [rows[at].head(size) for at in at_first]
            for at, judgement in zip(at_first, self._judgements(heads, 1, budget), strict=True):
                found[at] = judgement
                if judgement is None:
                    continue
                worth = judgement.both + priors[at]
                if rows[at].middle < size:
                    best = max(best, worth)
                else:
                    going[at] = worth
            return [at for at, worth in going.items() if worth > best - BEHIND]

        # What the tree has costs nothing and says what the others have to reach.
        known = [at for at, row in enumerate(rows) if self.tree.holds(row.ids[: row.middle])]
        look(known, TREE)
        live, size = [at for at in range(len(rows)) if at not in known], SHALLOW
        while live:
            live, size = look(live, size), 2 * size
        return found

    def _best(
        self,
        kept: Sequence[int],
        found: Sequence[Judgement | None],
        priors: Sequence[float],
        behind: float,
    ) -> list[int]:
        """Those of the middles that may still turn out to be the best, best first."""
        worth = {
            at: judgement.both + priors[at] for at in kept if (judgement := found[at]) is not None
        }
        order = sorted(worth, key=lambda at: -worth[at])
        return [at for at in order if worth[at] > worth[order[0]] - behind]

    def _row(self, middle: str) -> "_Row":
        behind = self.suffix[:SUFFIX_CHARACTERS]
        ids = self.vocabulary.encode(self.healed.decode() + middle + behind)
        size, at = len(self.healed) + len(middle.encode()), 0
        for token in ids:
            size -= len(self.vocabulary.token_bytes[token])
            if size < 0:
                break
            at += 1
        return _Row(ids, at, whole=True)

    def _judgements(
        self, rows: "Sequence[_Row]", count: int, budget: Budget
    ) -> list[Judgement | None]:
        """With `count` tokens of what follows each; None of rows that could not be read."""
        wanted = [row.ids[: row.middle + count] for row in rows]
        line = ends_line(self.suffix)
        # Whether a line ends is asked behind its last token, which something may follow or not.
        sizes = [
            max(len(ids) - 1, row.middle * (line and row.whole))
            for row, ids in zip(rows, wanted, strict=True)
        ]
        reads = [row.ids[:size] for row, size in zip(rows, sizes, strict=True)]
        found: list[Judgement | None] = []
        for row, ids, read, path in zip(
            rows, wanted, reads, self.tree.grow(reads, budget), strict=True
        ):
            if len(path) <= len(read):
                found.append(None)
                continue
            at, size = path[: len(ids)], row.middle
            # That what follows stands where it stands says nothing of the middle.
            middle = sum(self.tree.log_probabilities(at[:size], ids[:size]))
            suffix = sum(self.tree.log_probabilities(at[size:], ids[size:], alone=True))
            if line and row.whole:
                suffix = behind_line(suffix, self.tree.log_sum(path[size], self.ends))
            found.append(Judgement(middle=middle, suffix=suffix, tokens=count))
        return found

    def _goes_on(self, line: "_Line") -> bool:
        """Whether a line is not ended yet: by a control, a line break, or what follows the hole."""
        if line.ids[-1] < CONTROLS:
            return False
        text = self._whole(line)
        return "\n" not in text and len(up_to(self.suffix, text)) >= len(text.rstrip())

    def _whole(self, line: "_Line") -> str:
        """What is said behind the cursor."""
        said = self.vocabulary.decode(list(line.ids))
        return said[len(self.healed) :].decode("utf-8", "ignore")

    def _text(self, line: "_Line") -> str:
        return up_to(self.suffix, self._whole(line).partition("\n")[0])


@dataclass(frozen=True, slots=True)
class _Row:
    """The tokens of a middle and of what follows; `middle` are how many the middle has, of which
    these are the first or the `whole`."""

    ids: list[int]
    middle: int
    whole: bool

    def head(self, size: int) -> "_Row":
        return _Row(self.ids[:size], min(self.middle, size), whole=self.middle < size)


@dataclass(frozen=True, slots=True)
class _Line:
    """A continuation of the prefix, and its log-probability."""

    ids: tuple[int, ...] = ()
    nats: float = 0.0


def _looked_through() -> tuple[tuple[str, ...], Recurring]:
    """Texts, and the tokens of them: nothing yet."""
    return (), Recurring(())


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
