"""Text to the ids that DiffusionGemma reads, and back. Knows no tensors.

    <bos><|turn>user        neighbours, and how the file goes on after the cursor
    <turn|>
    <|turn>model            its empty thought, an opened code block, and the file up to the cursor
    ▌canvas: the hole, then what follows the cursor, pinned

The prefix stands in the model's own turn, so that the hole is simply what it writes next.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from infill_engine.denoiser import Sides
from infill_engine.errors import ModelError
from infill_engine.request import InfillRequest
from infill_engine.windows import last_tokens, prefix_window, suffix_window

CHARACTERS_PER_TOKEN = 3.5
# Names of added tokens that are no text, whether or not the tokenizer calls them special.
CONTROL = re.compile(
    r"<\|[a-z_\"]+\|?>|<[a-z_]+\|>|<(?:pad|eos|bos|unk|mask|unused\d+|start_of_\w+|end_of_\w+)>"
    r"|\[multimodal\]"
)
THOUGHT = "<|channel>"
CHAT = ("<bos>", "<|turn>", "<turn|>", THOUGHT)
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def fenced(text: str, language: str = "") -> str:
    """A code block that the text itself cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


class GemmaText:
    """A tokenizer.json of Gemma's kind: BPE over text with U+2581 for blanks, bytes as a fallback.

    `special` are the ids that stand for no text; they frame a prompt and never come out of a
    user's text, into the noise, or into an answer. Raises ModelError when the file does not fit.
    """

    def __init__(self, path: Path, vocab_size: int, no_text: Collection[int] = ()) -> None:
        try:
            self._control = Tokenizer.from_file(str(path))
            self._plain = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"cannot read the tokenizer {path}: {error}") from error
        # In a user's text "<turn|>" is seven characters, not the end of a turn.
        self._plain.encode_special_tokens = True
        self.vocab_size = vocab_size
        added = self._control.get_added_tokens_decoder()
        highest = max(self._control.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= vocab_size:
            raise ModelError(
                f"{path} has ids up to {highest}, the model only {vocab_size} tokens; put the "
                "tokenizer.json it was published with beside the weights"
            )
        self.token_bytes: list[bytes] = [b""] * vocab_size
        special = set(no_text)
        for token in range(vocab_size):
            piece = self._control.id_to_token(token)
            entry = added.get(token)
            if piece is None or (entry and (entry.special or CONTROL.fullmatch(piece))):
                special.add(token)
            elif token not in special:
                byte = BYTE.fullmatch(piece)
                self.token_bytes[token] = (
                    bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
                )
        self.special = frozenset(special)
        has = {mark for mark in CHAT if self._control.token_to_id(mark) is not None}
        lacking = [mark for mark in CHAT if mark not in has and mark != THOUGHT]
        if lacking:
            raise ModelError(
                f"{', '.join(lacking)} is no token of {path}, so its chat is not DiffusionGemma's; "
                "put the tokenizer.json it was published with beside the weights"
            )
        thought = "<|channel>thought\n<channel|>" if THOUGHT in has else ""
        self._user = self.control("<bos><|turn>user\n")
        self._model = self.control(f"<turn|>\n<|turn>model\n{thought}")
        self._end = self.control("<turn|>")
        self.pad: int = self._control.token_to_id("<pad>") or 0

    def control(self, text: str) -> list[int]:
        """The ids of our own framing text, in which control tokens mean what they say."""
        ids: list[int] = self._control.encode(text, add_special_tokens=False).ids
        return ids

    def encode(self, text: str) -> list[int]:
        """The ids of text, none of them special."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token not in self.special]

    def decode(self, ids: Sequence[int]) -> bytes:
        """The text of ids as UTF-8, perhaps cut within a character; special ids have none."""
        return b"".join([self.token_bytes[token] for token in ids])

    def continuations(self, piece: bytes) -> list[int]:
        """The tokens that start with `piece`, without a line break after it (token healing)."""
        pieces, tokens = self._sorted
        found = []
        for at in range(bisect_left(pieces, piece), len(pieces)):
            if not pieces[at].startswith(piece):
                break
            if b"\n" not in pieces[at][len(piece) :]:
                found.append(tokens[at])
        return found

    @cached_property
    def line_breaks(self) -> list[int]:
        """The tokens that hold a line break."""
        return [token for token, piece in enumerate(self.token_bytes) if b"\n" in piece]

    @cached_property
    def _sorted(self) -> tuple[list[bytes], list[int]]:
        pairs = sorted((piece, token) for token, piece in enumerate(self.token_bytes) if piece)
        return [piece for piece, _ in pairs], [token for _, token in pairs]

    def sides(
        self, request: InfillRequest, *, prefix: int, suffix: int, neighbours: int, tail: int
    ) -> Sides:
        """The prompt as `prefix_ids`, and what is pinned behind the hole as `suffix_ids`.

        The four numbers bound, in tokens, the prefix, the suffix told in the prompt, the
        neighbours, and the tail to be pinned.
        """
        before = prefix_window(request.prefix, int(prefix * CHARACTERS_PER_TOKEN))
        before_ids = last_tokens(self.encode(before), prefix)
        healed_prefix = self._healed(before_ids)
        if healed_prefix:
            before_ids = before_ids[:-1]
        language = request.language_id
        return Sides(
            prefix_ids=(
                *self._user,
                *self.encode(self._task(request, suffix, neighbours)),
                *self._model,
                *self.encode(f"```{language}\n"),
                *before_ids,
            ),
            suffix_ids=tuple(self._tail(request.suffix, tail)),
            healed_prefix=healed_prefix,
        )

    def _task(self, request: InfillRequest, suffix: int, neighbours: int) -> str:
        """The user's turn. What changes least comes first, so that it stays encoded."""
        language = request.language_id
        taken: list[str] = []
        room = neighbours * CHARACTERS_PER_TOKEN
        for snippet in request.neighbours:
            room -= len(snippet)
            if room >= 0:
                taken.append(snippet)
        shown = "\n\n".join(taken)
        near = f"From other files of the project:\n{fenced(shown)}\n\n" if shown else ""
        after = suffix_window(request.suffix, int(suffix * CHARACTERS_PER_TOKEN))
        told = f" It ends like this:\n{fenced(after, language)}" if after.strip() else ""
        return f"{near}Write the {language or 'text'} file, without any explanation.{told}"

    def _tail(self, suffix: str, most: int) -> list[int]:
        """The ids of what follows the hole, to the end of the answer if that is near."""
        near = suffix[: most * 8]
        ids = self.encode(near)
        if len(near) < len(suffix):
            return ids[:-1][:most]  # the last one may be half of a word
        fence = "```" if near.endswith("\n") else "\n```"
        return [*ids, *self.encode(fence), *self._end][:most]

    def _healed(self, ids: list[int]) -> bytes:
        """The text of the last token, if some other token could continue it."""
        if not ids:
            return b""
        piece = self.token_bytes[ids[-1]]
        try:
            piece.decode("utf-8")
        except UnicodeDecodeError:
            return b""
        return piece if piece and len(self.continuations(piece)) > 1 else b""
