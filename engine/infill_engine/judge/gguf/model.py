"""A GGUF model in llama.cpp, and a KV cache of it."""

import ctypes
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.errors import ModelError
from infill_engine.judge.gguf.library import (
    BATCH,
    CONTEXT,
    MICRO_BATCH,
    NUM_GPU_LAYERS,
    SEQUENCES,
    UNIFIED,
    Batch,
    library,
    release,
    why,
)

LOOKED_AT = 0.005  # seconds between two looks at the budget while a pass runs
FEW = 4  # tokens of a pass that takes no longer than one of less
SHORTEST = 256  # tokens that a model has to be able to read


class Model:
    """The weights. Raises ModelError where llama.cpp cannot read them, or they are no language
    model that writes from left to right and can take back what it read."""

    def __init__(self, path: Path, *, on_gpu: bool) -> None:
        self._lib = library()
        parameters = self._lib.llama_model_default_params()
        parameters.words[NUM_GPU_LAYERS // 4] = -1 if on_gpu else 0
        why()
        self.address = self._lib.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.address:
            raise ModelError(
                f"llama.cpp of xllamacpp {release()} cannot read {path} "
                f"({why()}); download it again, or take "
                "another model"
            )
        weakref.finalize(self, self._lib.llama_model_free, self.address)
        kind = self._kind()
        if kind:
            raise ModelError(f"{path} is {kind}; a judge is a language model such as Qwen2.5-Coder")

    def _kind(self) -> str:
        """What it is, where it cannot judge."""
        lib, address = self._lib, self.address
        architecture = self.metadata("general.architecture")
        pooling = self.metadata(f"{architecture}.pooling_type")
        causal = self.metadata(f"{architecture}.attention.causal")
        if pooling not in ("", "0") or causal == "false" or lib.llama_model_has_encoder(address):
            return f"an embedding model or an encoder ({architecture})"
        if lib.llama_model_is_diffusion(address):
            return f"a diffusion model ({architecture})"
        if lib.llama_model_is_recurrent(address) or lib.llama_model_is_hybrid(address):
            return f"a recurrent model ({architecture}), which cannot take back what it has read"
        if self.trained_context < SHORTEST:
            return f"a model that reads at most {self.trained_context} tokens"
        return ""

    @property
    def vocab_size(self) -> int:
        return int(self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self.address)))

    @property
    def trained_context(self) -> int:
        return int(self._lib.llama_model_n_ctx_train(self.address))

    @property
    def parameters(self) -> int:
        return int(self._lib.llama_model_n_params(self.address))

    @property
    def description(self) -> str:
        said = ctypes.create_string_buffer(128)
        self._lib.llama_model_desc(self.address, said, len(said))
        return said.value.decode("utf-8", "replace")

    def metadata(self, key: str) -> str:
        """ "" where the file says nothing of it."""
        said = ctypes.create_string_buffer(256)
        found = self._lib.llama_model_meta_val_str(self.address, key.encode(), said, len(said))
        return said.value.decode("utf-8", "replace") if found >= 0 else ""


class KVCache:
    """A context of a model: `sequences` of tokens that may share what they begin with, `room`
    tokens in all. Not thread-safe. Raises ModelError where there is no memory for it.

    A pass takes at most `batch` tokens. It ends early once the budget is over, where a CPU
    computes it.
    """

    def __init__(
        self,
        model: Model,
        *,
        room: int,
        sequences: int,
        batch: int,
        threads: int,
    ) -> None:
        self._model = model  # which goes last
        self._lib, self._vocab_size, self.batch = library(), model.vocab_size, batch
        parameters = self._lib.llama_context_default_params()
        for at, value in ((CONTEXT, room), (BATCH, batch), (MICRO_BATCH, batch)):
            parameters.words[at // 4] = value
        parameters.words[SEQUENCES // 4] = sequences
        ctypes.cast(ctypes.byref(parameters), ctypes.POINTER(ctypes.c_bool))[UNIFIED] = True
        why()
        self.token_ms = 0.0  # of a pass, as it is now, beside whatever else this machine does
        self._address = self._lib.llama_init_from_model(model.address, parameters)
        if not self._address:
            raise ModelError(f"no memory for {room} tokens: {why()}")
        assert self._lib.llama_n_seq_max(self._address) == sequences, "the layout is as known"
        weakref.finalize(self, self._lib.llama_free, self._address)
        self._memory = self._lib.llama_get_memory(self._address)
        self._lib.llama_set_n_threads(self._address, threads, threads)
        # Asked between any two operations. A function of ours would take Python's lock each time;
        # the length of a C string is one, so true, once its first byte is.
        self._stop = ctypes.create_string_buffer(2)
        length = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)
        self._lib.llama_set_abort_callback(self._address, length, ctypes.addressof(self._stop))

    def read(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        wanted: Sequence[bool],
        budget: Budget = UNLIMITED,
    ) -> NDArray[np.float32] | None:
        """Logits [wanted, V] behind the tokens where they are wanted; None where the budget ended
        before, and then no sequence but the first of each token is as it was before. Raises
        ModelError where llama.cpp fails."""
        assert 0 < len(tokens) <= self.batch
        token, position = np.array(tokens, np.int32), np.array(positions, np.int32)
        count = np.array([len(each) for each in sequences], np.int32)
        flat = np.array([one for each in sequences for one in each], np.int32)
        starts = np.concatenate(([0], np.cumsum(count)[:-1]))
        pointers = (flat.ctypes.data + 4 * starts).astype(np.uintp)
        output = np.array(wanted, np.int8)
        arrays = (token, position, count, pointers, output)
        addresses = [array.ctypes.data for array in arrays]
        started = time.perf_counter()
        batch = Batch(len(tokens), addresses[0], None, *addresses[1:])
        returned = self._decode(batch, budget)
        if returned == 2:
            return None
        if returned:
            raise ModelError(f"llama.cpp cannot read {len(tokens)} tokens (code {returned})")
        taken = (time.perf_counter() - started) * 1e3 / max(len(tokens), FEW)
        self.token_ms += (taken - self.token_ms) / (4 if self.token_ms else 1)
        shape = (int(output.sum()), self._vocab_size)
        if not shape[0]:
            return np.empty(shape, np.float32)
        return np.ctypeslib.as_array(self._lib.llama_get_logits(self._address), shape).copy()

    def seconds(self, tokens: int) -> float:
        """What a pass of so many is expected to take."""
        return max(tokens, FEW) * self.token_ms / 1e3

    def _decode(self, batch: Batch, budget: Budget) -> int:
        if budget is UNLIMITED:
            return int(self._lib.llama_decode(self._address, batch))
        self._stop[0] = b"\0"
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOKED_AT):
                if budget.over:
                    self._stop[0] = b"\1"
                    return

        watcher = threading.Thread(target=watch, name="judge-budget", daemon=True)
        watcher.start()
        try:
            return int(self._lib.llama_decode(self._address, batch))
        finally:
            done.set()
            watcher.join()
            self._stop[0] = b"\0"

    def share(self, source: int, target: int, end: int) -> None:
        """A sequence that is new begins with the first `end` tokens of another."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def cut(self, sequence: int, start: int = 0) -> bool:
        """Drops the tokens of a sequence from there on; False where the model cannot."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, start, -1))
