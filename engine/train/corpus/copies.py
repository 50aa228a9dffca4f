"""Which files are copies of one another: by a digest, or nearly, by MinHash."""

import numpy as np
from numpy.typing import NDArray

from train.corpus import decontaminate
from train.corpus.state import SourceFile

NUM_HASHES, BANDS = 64, 16
NEAR = 0.8  # share of equal MinHash values from which two files are copies
MIN_LEXEMES = 50


def minhash(lexemes: NDArray[np.uint64]) -> tuple[int, ...]:
    """64 minima over the file's 5-grams; empty for a file too short to compare."""
    if len(lexemes) < MIN_LEXEMES:
        return ()
    shingles = np.unique(decontaminate.grams(lexemes, 5))
    mixed = ((shingles * multiplier) >> np.uint64(32) for multiplier in _multipliers())
    return tuple(int(values.min()) for values in mixed)


def _multipliers() -> NDArray[np.uint64]:
    draw = np.random.default_rng(0).integers(1, 1 << 63, NUM_HASHES, np.uint64)
    odd: NDArray[np.uint64] = draw * np.uint64(2) + np.uint64(1)
    return odd


class Copies:
    """What was kept so far, to tell exact and near copies of it by."""

    def __init__(self) -> None:
        self._digests: set[str] = set()
        self._signatures: list[NDArray[np.uint32]] = []
        self._bands: dict[bytes, int] = {}

    def reason(self, file: SourceFile) -> str:
        """'exact copy', 'near copy', or '' after remembering the file."""
        if file.digest in self._digests:
            return "exact copy"
        self._digests.add(file.digest)
        if not file.signature:
            return ""
        signature = np.array(file.signature, np.uint32)
        rows = signature.reshape(BANDS, -1)
        keys = [bytes([band]) + rows[band].tobytes() for band in range(BANDS)]
        for candidate in {self._bands[key] for key in keys if key in self._bands}:
            if float((self._signatures[candidate] == signature).mean()) >= NEAR:
                return "near copy"
        for key in keys:
            self._bands.setdefault(key, len(self._signatures))
        self._signatures.append(signature)
        return ""
