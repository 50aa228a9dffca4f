"""llama.cpp's C API, as far as a judge needs it: a model, one KV cache for many sequences, logits.

It comes with the wheel `xllamacpp`, whose extension module is all of llama.cpp and exports its C
functions on Linux and macOS; CUDA, ROCm, Vulkan and Metal are what the installed wheel has. (Of
`llama-cpp-python` there is only a source archive, which takes a compiler and minutes.) The wheel's
own Python face ends at a server, so the functions are called with ctypes. Structures by value are
what changes from release to release: the extra names one release, and what its defaults look like
is compared before anything is called with them.
"""

import ctypes
import importlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any

from infill_engine.errors import ModelError
from infill_engine.remedies import installing

REMEDY = installing("gguf")
ERROR = 4  # of llama.cpp's log levels

# Bytes into llama_model_params and llama_context_params.
NUM_GPU_LAYERS = 16
CONTEXT, BATCH, MICRO_BATCH, SEQUENCES, UNIFIED = 0, 4, 8, 12, 141
# What stands there and around it before it is set.
MODEL_DEFAULTS = {NUM_GPU_LAYERS: (-1, 1, -1, 1, 0)}
CONTEXT_DEFAULTS = {CONTEXT: (512, 2048, 512, 1, 0, 0, 1, 4, 4), 136: (0x01010100, 0x0001)}


class Parameters(ctypes.Structure):
    """Of a model or a context: longer than either, as it may be where it is the last argument."""

    _fields_ = (("words", ctypes.c_int32 * 128),)


class Batch(ctypes.Structure):
    """llama_batch: tokens, positions, the sequences of each, and whose logits are wanted."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    )


_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_POINTER, _INT, _BOOL = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what is returned, then what is given
    "llama_model_default_params": (Parameters,),
    "llama_context_default_params": (Parameters,),
    "llama_model_load_from_file": (_POINTER, ctypes.c_char_p, Parameters),
    "llama_init_from_model": (_POINTER, _POINTER, Parameters),
    "llama_model_free": (None, _POINTER),
    "llama_free": (None, _POINTER),
    "llama_log_set": (None, _Log, _POINTER),
    "llama_supports_gpu_offload": (_BOOL,),
    "llama_n_ctx": (ctypes.c_uint32, _POINTER),
    "llama_n_seq_max": (ctypes.c_uint32, _POINTER),
    "llama_set_n_threads": (None, _POINTER, _INT, _INT),
    "llama_set_abort_callback": (None, _POINTER, _POINTER, _POINTER),
    "llama_model_n_ctx_train": (_INT, _POINTER),
    "llama_model_n_params": (ctypes.c_uint64, _POINTER),
    "llama_model_has_encoder": (_BOOL, _POINTER),
    "llama_model_is_recurrent": (_BOOL, _POINTER),
    "llama_model_is_hybrid": (_BOOL, _POINTER),
    "llama_model_is_diffusion": (_BOOL, _POINTER),
    "llama_model_meta_val_str": (
        _INT, _POINTER, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
    ),
    "llama_model_desc": (_INT, _POINTER, ctypes.c_char_p, ctypes.c_size_t),
    "llama_model_get_vocab": (_POINTER, _POINTER),
    "llama_vocab_type": (_INT, _POINTER),
    "llama_vocab_n_tokens": (_INT, _POINTER),
    "llama_vocab_get_attr": (_INT, _POINTER, _INT),
    "llama_vocab_is_eog": (_BOOL, _POINTER, _INT),
    "llama_vocab_bos": (_INT, _POINTER),
    "llama_vocab_eos": (_INT, _POINTER),
    "llama_vocab_get_add_bos": (_BOOL, _POINTER),
    "llama_vocab_fim_pre": (_INT, _POINTER),
    "llama_vocab_fim_suf": (_INT, _POINTER),
    "llama_vocab_fim_mid": (_INT, _POINTER),
    "llama_tokenize": (_INT, _POINTER, ctypes.c_char_p, _INT, _POINTER, _INT, _BOOL, _BOOL),
    "llama_token_to_piece": (_INT, _POINTER, _INT, ctypes.c_char_p, _INT, _INT, _BOOL),
    "llama_get_memory": (_POINTER, _POINTER),
    "llama_memory_seq_cp": (None, _POINTER, _INT, _INT, _INT, _INT),
    "llama_memory_seq_rm": (_BOOL, _POINTER, _INT, _INT, _INT),
    "llama_decode": (_INT, _POINTER, Batch),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), _POINTER),
}  # fmt: skip
_errors: list[str] = []


def _listen(level: int, said: bytes, _: object) -> None:
    if level == ERROR and not _errors:  # what follows is about the first
        _errors.append(
            said.decode("utf-8", "replace").strip().rpartition("error loading model: ")[2]
        )


def why() -> str:
    """What llama.cpp said of what went wrong since this was last asked."""
    said = _errors[0] if _errors else "it does not say why"
    _errors.clear()
    return said


_listener = _Log(_listen)  # for as long as llama.cpp may call it


def release() -> str:
    """The installed one, "" where none is."""
    try:
        return metadata.version("xllamacpp")
    except metadata.PackageNotFoundError:
        return ""


@cache
def library() -> ctypes.CDLL:
    """llama.cpp with its functions declared. Raises ModelError where it is not installed, or is
    another release."""
    if sys.platform == "win32":
        raise ModelError(
            "a GGUF judge is run by llama.cpp, whose functions xllamacpp does not export on "
            "Windows; run infill-ls in WSL, or leave judge at auto"
        )
    try:
        module = importlib.import_module("xllamacpp.xllamacpp")
    except ImportError as error:
        raise ModelError(
            f"a GGUF judge is run by llama.cpp, which is not installed ({error}); {REMEDY}"
        ) from None
    assert module.__file__, "an extension module has a file"
    found = ctypes.CDLL(module.__file__)
    other = ModelError(f"xllamacpp {release()} is not the release that is asked for; {REMEDY}")
    try:
        for name, (returned, *given) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = returned, given
    except AttributeError as error:
        raise other from error
    model, context = found.llama_model_default_params(), found.llama_context_default_params()
    if not (_as_known(model, MODEL_DEFAULTS) and _as_known(context, CONTEXT_DEFAULTS)):
        raise other
    found.llama_log_set(_listener, None)
    return found


def _as_known(parameters: Parameters, defaults: Mapping[int, tuple[int, ...]]) -> bool:
    words = parameters.words
    return all(
        tuple(words[at // 4 : at // 4 + len(values)]) == values for at, values in defaults.items()
    )
