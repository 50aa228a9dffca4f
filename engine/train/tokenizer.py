"""Train the byte-level BPE of the embedded model.

Identifiers, numbers and punctuation never merge, so where a cursor stands is mostly a token
boundary; a newline and the indentation after it are one piece, so an indentation level becomes one
token. Knows nothing of where the texts come from.
"""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 6144
PRE_SPLIT = r" ?[A-Za-z_]+| ?[0-9]{1,3}| ?[^\sA-Za-z0-9_]+|(?:\r?\n[ \t]*)+|[ \t]+"
CONTROL = ("<pad>", "<mask>", "<bos>", "<eos>", "<end>", "<expand>")
LANGUAGES = (
    "python", "javascript", "typescript", "java", "go", "rust", "c", "cpp", "csharp", "ruby", "php",
    "bash", "html", "css", "json", "yaml", "toml", "markdown", "other",
)  # fmt: skip
FIRST_LEARNED = 48


def specials() -> list[str]:
    """The tokens with the first ids, in order; spares fill up to the first learned id."""
    named = [*CONTROL, *(f"<{language}>" for language in LANGUAGES)]
    return named + [f"<spare{i}>" for i in range(FIRST_LEARNED - len(named))]


def train(texts: Iterator[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """A tokenizer of `vocabulary` entries in all, learned from texts with LF line ends."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=specials(),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() <= vocabulary, "the trainer keeps to the vocabulary"
    return tokenizer


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Write tokenizer.json by rename, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    tokenizer.save(str(partial))
    partial.replace(path)
