"""What a user may choose about the engine, resolved once and passed on. Imports no tensors."""

from dataclasses import dataclass
from typing import Literal, get_args

Format = Literal["fp8", "int4"]
Dtype = Literal["auto", "float32", "bfloat16", "int8", "fp8", "int4"]
# Before the name of a model on the Hugging Face hub; other names are paths, and nothing is fetched.
HUB = "hub:"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """`model` is "default" (the embedded one), a folder/file of weights, or the URL of a server, or
    several with commas between them, of servers that serve the same.

    A folder may also hold a DiffusionGemma as transformers saves it, or a masked Qwen2 such as
    DreamOn or Open-dCoder; "hub:OWNER/NAME" downloads one from the Hugging Face hub. `dtype` is
    what its weights are kept in: "fp8" and "int4" are of DiffusionGemma's experts and of a Qwen2's
    matrices, the rest stays as stored; "auto" takes everything as stored, and as int4 what is
    stored in NVFP4. Of the embedded model it is "float32", "bfloat16" or "int8", and "auto" what
    this CPU is fastest at.

    `judge` is what ranks and continues what the embedded model drafts: "auto" takes the language
    model that is shipped where this CPU is fast enough for it, "off" none; or it is a folder that
    holds one, or a GGUF file, which llama.cpp runs: with "#exact" behind it, what it would write
    itself comes before whatever was drafted. A masked Qwen2 has none unless one is named.

    `adapter` is a folder with what fine-tuning adds to a checkpoint (LoRA, as PEFT saves it).

    `device` is "auto", "cpu", "cuda" or, of Apple's, "mlx" for checkpoints, and "mps" for a masked
    Qwen2; `threads` None is one for the embedded model, two of them for the judge's long reads,
    and the physical cores, at most 4, for others. `max_denoising_steps` None lets the canvas
    length decide.

    A server is "http://HOST:PORT" or "https://HOST/PATH", with the model's name as "#NAME" or in
    `remote_model`; a server of one model needs no name. Its key is never a setting: it is read
    from the environment variable named `remote_key_env` or from the file `remote_key_file`.
    `remote_ca_file` holds the certificates (PEM) to trust instead of the system's.
    `remote_client_cert` is the certificate (PEM) to show to a server that asks for one, with its
    key in the same file or in `remote_client_key`; the key has no password.
    `remote_trust_env` has the proxies of the environment used (HTTPS_PROXY, NO_PROXY and so on);
    without it the server is connected to directly, whatever the environment says.
    `remote_tokenizer` is the served model's tokenizer.json; unset, the server tokenizes.
    `remote_timeout` is in seconds per HTTP request, `remote_concurrency` the requests at a time.
    """

    model: str = "default"
    judge: str = "auto"
    adapter: str | None = None
    device: str = "auto"
    dtype: Dtype = "auto"
    threads: int | None = None
    max_denoising_steps: int | None = None
    entropy_bound: float | None = None
    remote_model: str | None = None
    remote_key_env: str | None = None
    remote_key_file: str | None = None
    remote_ca_file: str | None = None
    remote_client_cert: str | None = None
    remote_client_key: str | None = None
    remote_trust_env: bool = False
    remote_tokenizer: str | None = None
    remote_timeout: float = 30.0
    remote_concurrency: int = 4

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(f"dtype={self.dtype!r} must be one of {', '.join(get_args(Dtype))}")
        if not self.judge.strip():
            raise ValueError(
                f"judge={self.judge!r} names none; it is auto, off, a folder or a file"
            )
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads} must be at least 1, or unset for automatic")
        if self.max_denoising_steps is not None and self.max_denoising_steps < 1:
            raise ValueError(
                f"max_denoising_steps={self.max_denoising_steps} must be at least 1, or unset"
            )
        if self.entropy_bound is not None and not self.entropy_bound > 0:
            raise ValueError(f"entropy_bound={self.entropy_bound} must be above 0 nats, or unset")
        if self.remote_key_env is not None and self.remote_key_file is not None:
            raise ValueError("remote_key_env and remote_key_file are both set; keep one of them")
        if self.remote_client_key is not None and self.remote_client_cert is None:
            raise ValueError(
                f"remote_client_key={self.remote_client_key!r} is set without remote_client_cert; "
                "set the certificate that belongs to it"
            )
        if not self.remote_timeout > 0:
            raise ValueError(f"remote_timeout={self.remote_timeout} must be above 0 seconds")
        if self.remote_concurrency < 1:
            raise ValueError(f"remote_concurrency={self.remote_concurrency} must be at least 1")

    @property
    def is_remote(self) -> bool:
        """Whether `model` names a server; only then does anything leave this machine."""
        return self.model.startswith(("http://", "https://"))
