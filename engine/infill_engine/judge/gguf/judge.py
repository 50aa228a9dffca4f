"""A GGUF model as a judge. Implements `Judge`.

Where the model knows how to fill in the middle, it is asked as it was trained: prefix, suffix,
middle. Typing would then move all of the suffix; so the prefix ends where the cursor's line began,
and what was typed since stands behind the suffix, as the beginning of the middle. Typing appends
there, deleting truncates, and nothing else is read again until the line is left or the suffix is
changed. A model that only goes on with text reads the prefix alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from infill_engine.budget import Budget
from infill_engine.judge.gguf.model import KVCache
from infill_engine.judge.gguf.reading import GgufReading, Verified
from infill_engine.judge.gguf.tree import Floats, Tree
from infill_engine.judge.gguf.vocabulary import GgufVocabulary
from infill_engine.judge.judge import Judge, JudgeInfo
from infill_engine.models.two_sided.kv_cache import common_length
from infill_engine.request import InfillRequest
from infill_engine.windows import first_tokens, last_tokens, prefix_window, suffix_window

PLACES = 3  # whose prompts are kept
BRANCHES = 61  # of the tree of what may follow
NODES = 256  # of that tree
CHUNK = 32  # tokens of a prompt that are read between two looks at the budget
WORTH_REUSING = 64  # tokens, below which another place is being edited
CHARACTERS_PER_TOKEN = 3.6
# Of the tokens that a place may hold, the shares that what follows the hole and the hole itself
# may take.
SUFFIX_SHARE, MIDDLE_SHARE = 5, 5


@dataclass(slots=True, kw_only=True)
class _Place:
    """A prompt as far as it was read: a stack of ids in a sequence, and the logits [V] behind.
    `head` is the text before the hole as the prompt has it, `suffix` that behind."""

    sequence: int
    ids: list[int] = field(default_factory=list)
    logits: Floats | None = None
    head: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompt:
    """What to read, and the bytes of its last token, which is taken back."""

    ids: list[int]
    healed: bytes
    head: str = ""
    suffix: str = ""


class GgufJudge:
    """`context` tokens are kept of each place; the cache has room for all of them and a tree.
    With `exact` its own text comes before whatever else was drafted. A pass verifies at most
    `drafted` tokens of drafts. A `drafter`, a judge that is much faster, goes on with what it has
    said so far. Not thread-safe: one caller at a time."""

    def __init__(
        self,
        cache: KVCache,
        vocabulary: GgufVocabulary,
        info: JudgeInfo,
        *,
        context: int,
        exact: bool,
        drafted: int,
        drafter: Judge | None = None,
    ) -> None:
        self._cache, self.vocabulary, self._info = cache, vocabulary, info
        self._context, self.exact = context, exact
        self.drafted, self.drafter = drafted, drafter
        self._typed = context // MIDDLE_SHARE // 2
        self._places = [_Place(sequence=number) for number in range(PLACES)]  # last used last
        self._tree: Tree | None = None
        self.verified = Verified()

    def describe(self) -> JudgeInfo:
        return self._info

    def read(self, request: InfillRequest, budget: Budget) -> GgufReading | None:
        self._close_tree()
        prompt = self._prompt(request)
        ids, place = prompt.ids, self._nearest(prompt.ids)
        place.head, place.suffix = prompt.head, prompt.suffix
        # The last token is read again where nothing is new: the logits behind it are what counts.
        kept = common_length(place.ids, ids)
        if kept < len(place.ids) or place.logits is None:
            self._cut(place, min(kept, len(ids) - 1))
        # What would take most of the time that is left is left for when nobody waits.
        new = len(ids) - len(place.ids)
        if new and self._cache.seconds(new) > budget.left() / 2:
            return None
        while len(place.ids) < len(ids):
            chunk = ids[len(place.ids) :][:CHUNK]
            if self._cache.seconds(len(chunk)) > budget.left():
                return None
            if not self._push(place, chunk, budget):
                return None
        assert place.logits is not None, "something was read"
        if self.drafter is not None:
            self.drafter.read(request, budget)
        self._tree = Tree(
            self._cache,
            place.sequence,
            len(ids),
            place.logits,
            range(PLACES, PLACES + BRANCHES),
            NODES,
        )
        return GgufReading(
            tree=self._tree,
            vocabulary=self.vocabulary,
            request=request,
            healed=prompt.healed,
            exact=self.exact,
            drafted=self.drafted,
            drafter=self.drafter,
            calibration=self._info.calibration,
            verified=self.verified,
        )

    def forget(self) -> None:
        self._close_tree()
        if self.drafter is not None:
            self.drafter.forget()
        for place in self._places:
            self._cut(place, 0)
            place.head = place.suffix = ""

    def _close_tree(self) -> None:
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def _prompt(self, request: InfillRequest) -> _Prompt:
        encode, room = self.vocabulary.encode, self._context - self._context // MIDDLE_SHARE
        if self.vocabulary.fim is None:
            text = prefix_window(request.prefix, int(room * CHARACTERS_PER_TOKEN))
            ids = last_tokens(encode(text), room - 1)
            start = self.vocabulary.start or [self.vocabulary.nothing]
            return self._healed(start, ids)
        most = self._context // SUFFIX_SHARE
        room -= most + 8
        prefix = prefix_window(request.prefix, int(room * CHARACTERS_PER_TOKEN))
        suffix = suffix_window(request.suffix, int(most * CHARACTERS_PER_TOKEN))
        head, typed = self._split(prefix, suffix)
        before, behind, middle = self.vocabulary.fim
        ids = [*self.vocabulary.start, before, *last_tokens(encode(head), room)]
        ids += [behind, *first_tokens(encode(suffix), most), middle]
        return self._healed(ids, typed, head, suffix)

    def _split(self, prefix: str, suffix: str) -> tuple[str, list[int]]:
        """What is the prompt's prefix, and the tokens of what its middle begins with. They meet
        where a place has the same around the hole as it had there, else at the line's start."""
        for place in reversed(self._places):
            if place.ids and place.suffix == suffix and prefix.startswith(place.head):
                typed = self.vocabulary.encode(prefix[len(place.head) :])
                if len(typed) <= self._typed:
                    return place.head, typed
        start = prefix.rfind("\n") + 1
        typed = self.vocabulary.encode(prefix[start:])
        return (prefix[:start], typed) if len(typed) <= self._typed else (prefix, [])

    def _healed(
        self, ids: list[int], typed: list[int], head: str = "", suffix: str = ""
    ) -> _Prompt:
        healed = self.vocabulary.token_bytes[typed[-1]] if typed else b""
        try:
            healed.decode("utf-8")
        except UnicodeDecodeError:
            healed = b""
        ids = [*ids, *(typed[:-1] if healed else typed)]
        return _Prompt(ids=ids, healed=healed, head=head, suffix=suffix)

    def _nearest(self, ids: Sequence[int]) -> _Place:
        """The place that shares most with ids, or the one that was left longest ago, empty."""
        shared = [common_length(place.ids, ids) for place in self._places]
        best = max(shared)
        if best >= min(WORTH_REUSING, len(ids) // 2):
            place = self._places.pop(shared.index(best))
        else:
            place = self._places.pop(0)
            self._cut(place, 0)
        self._places.append(place)
        return place

    def _push(self, place: _Place, ids: Sequence[int], budget: Budget) -> bool:
        """Whether the budget lasted to read ids at the end of a place."""
        start, count = len(place.ids), len(ids)
        logits = self._cache.read(
            ids,
            range(start, start + count),
            [[place.sequence]] * count,
            [False] * (count - 1) + [True],
            budget,
        )
        if logits is None:
            return False
        place.ids += ids
        place.logits = logits[0]
        return True

    def _cut(self, place: _Place, length: int) -> None:
        if not self._cache.cut(place.sequence, length):
            self._cache.cut(place.sequence)
            length = 0
        del place.ids[length:]
        place.logits = None
