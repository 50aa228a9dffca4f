"""What vLLM 0.33 checks of a request with diffusion fields, message by message."""

from typing import Any

CANVAS = 48  # tokens, as served


class Bad(Exception):
    """An answer other than 200, in vLLM's shape."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def check(valid: bool, message: str, status: int = 400) -> None:
    if not valid:
        raise Bad(message, status)


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def narrowed(fields: object) -> dict[str, Any]:
    """vllm_xargs as its schema has it: numbers, strings and lists of them; booleans become 0/1."""
    check(isinstance(fields, dict), "vllm_xargs: Input should be a valid dictionary")
    assert isinstance(fields, dict)
    taken: dict[str, Any] = {}
    for name, value in fields.items():
        for entry in value if isinstance(value, list) else [value]:
            check(isinstance(entry, str | int | float), f"vllm_xargs.{name}: Input should be valid")
        if isinstance(value, list):
            taken[name] = [int(entry) if entry is True else entry for entry in value]
        else:
            taken[name] = int(value) if isinstance(value, bool) else value
    return taken


def checked_fields(extra: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    """The rules of vllm/utils/diffusion.py, message by message."""
    width = extra.get("diffusion_canvas_length")
    if width is not None:
        check(
            whole(width) and 0 < width <= CANVAS,
            "diffusion_canvas_length must be a positive integer no larger than the served canvas.",
        )
    expected = width or CANVAS
    seed = extra.get("diffusion_seed_canvas")
    if seed is not None:
        check(
            isinstance(seed, list) and all(map(whole, seed)),
            "diffusion_seed_canvas must be a list of token ids.",
        )
        check(
            all(0 <= token < vocabulary for token in seed),
            f"diffusion_seed_canvas ids must be in [0, {vocabulary}).",
        )
        check(
            len(seed) == expected,
            f"diffusion_seed_canvas must hold exactly {expected} ids, got {len(seed)}.",
        )
    pins = extra.get("diffusion_pinned")
    if pins is not None:
        check(
            isinstance(pins, list) and all(map(whole, pins)),
            "diffusion_pinned must be a list of canvas positions.",
        )
        check(seed is not None, "diffusion_pinned needs a diffusion_seed_canvas to hold.")
        check(
            all(0 <= pin < expected for pin in pins),
            "diffusion_pinned positions must lie inside the canvas.",
        )
    cap = extra.get("diffusion_max_steps")
    if cap is not None:
        check(whole(cap) and cap > 0, "diffusion_max_steps must be a positive integer.")
    read_only = extra.get("diffusion_read_only")
    if read_only is not None:
        check(read_only in (0, 1), "diffusion_read_only must be a boolean (or 0/1).")
    unknown = [name for name in extra if name.startswith("diffusion_") and name not in FIELDS]
    check(not unknown, f"this test server knows no {unknown}")
    return extra


FIELDS = {
    "diffusion_canvas_length",
    "diffusion_seed_canvas",
    "diffusion_pinned",
    "diffusion_max_steps",
    "diffusion_read_only",
}
REQUEST: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "prompt": (list, str),
    "max_tokens": int,
    "logprobs": int,
    "logprob_token_ids": list,
    "return_token_ids": bool,
    "return_tokens_as_token_ids": bool,
    "skip_special_tokens": bool,
    "vllm_xargs": dict,
}
