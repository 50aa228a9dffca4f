"""A server process that keeps vLLM's contract for DiffusionGemma, for tests of the client.

    python vllm_contract.py FOLDER [CERTIFICATE KEY]

makes a small random checkpoint in FOLDER, loads it, and prints one line of JSON with its URLs.
It checks every field of a request as vLLM 0.33 documents it, denoises with the real classes of
transformers, and answers as vLLM does, with its traps: 16 tokens unless told otherwise, the raw
argmax at pinned places, pins that count in the budget and in the stop, a step cap that cuts the
schedule. One thing is not as there: a pin's soft embedding is not zeroed.

`POST /_test` sets what it does, and `GET /_test` tells what it saw and forgets it:

    kind       "pinned", "vllm" (takes no diffusion fields) or "openai" (knows nothing of vLLM)
    key        the bearer key that /v1 wants
    script     {text: log-probability}: a hole that holds exactly such a text gets it
    changes    True: pinned places come back as other tokens
    chat       the text of a chat answer; chat_events False sends it as one object
    step_s     seconds that each denoising step, or each event of a chat, takes
    caching    True: tells how many tokens of the prompt were read before
    info       True: has /tokenizer_info
    faults     {path: [fault, …]}, one per request: {"status": 503, "headers": {…}},
               {"raw": text}, {"cut": bytes}, {"tokens": how many}, {"slow": seconds}, {"drop": 1}
"""

import json
import select
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import tiny_gemma
import torch
from tokenizers import Tokenizer
from transformers import DiffusionGemmaForBlockDiffusion, DynamicCache

MODEL = "tiny/diffusion-gemma"
CANVAS, STEPS, CONTEXT, MAX_LOGPROBS = 48, 4, 1600, 20
BOUND, T_MIN, T_MAX, CONFIDENCE = 0.1, 0.4, 0.8, 0.005
EOS = {1, 5}
PLAIN = {
    "kind": "pinned",
    "key": None,
    "script": None,
    "changes": False,
    "chat": "",
    "chat_events": True,
    "step_s": 0.0,
    "caching": False,
    "info": False,
    "faults": {},
}


class Bad(Exception):
    """An answer other than 200, in vLLM's shape."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Gone(Exception):
    """The client hung up."""


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


class Model:
    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").exists():
            tiny_gemma.save(folder, canvas_length=CANVAS)
        loaded = DiffusionGemmaForBlockDiffusion.from_pretrained(folder)
        self.network = loaded.eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.config = json.loads((folder / "tokenizer.json").read_text())
        self.vocabulary = loaded.config.text_config.vocab_size
        self.lock = threading.Lock()

    @torch.inference_mode()
    def denoise(
        self, prompt: list[int], seed: list[int] | None, pins: list[int], width: int, cap: int, wait
    ):
        """The raw argmax canvas and its log-probabilities at T = 1, [T] and [T, V]."""
        network = self.network
        with self.lock:
            text = network.config.get_text_config(decoder=True)
            cache = DynamicCache(config=text)
            ids = torch.tensor([prompt])
            at = torch.arange(len(prompt))[None]
            network.model.encoder(input_ids=ids, past_key_values=cache, position_ids=at)
        start = torch.randint(self.vocabulary, (1, width)) if seed is None else torch.tensor([seed])
        pinned = torch.zeros(1, width, dtype=torch.bool)
        pinned[0, pins] = True
        position = len(prompt) + torch.arange(width)[None]
        current, soft, previous = start, None, None
        for step in range(min(cap, STEPS)):
            wait()
            with self.lock:
                logits = network(
                    decoder_input_ids=current,
                    decoder_position_ids=position,
                    past_key_values=cache,
                    self_conditioning_logits=soft,
                ).logits
            # The cap cuts this schedule, it does not compress it.
            z = logits / (T_MIN + (T_MAX - T_MIN) * (STEPS - step) / STEPS)
            p = z.softmax(-1)
            entropy = torch.special.entr(p).sum(-1)
            best = z.argmax(-1)
            ascending, order = entropy.sort(-1)
            within = ascending.cumsum(-1) - ascending <= BOUND
            accepted = torch.zeros_like(pinned).scatter(-1, order, within)
            drawn = torch.multinomial(p[0], 1).T
            fresh = torch.randint(self.vocabulary, current.shape)
            current = torch.where(pinned, start, torch.where(accepted, drawn, fresh))
            stable = previous is not None and bool((best == previous).all())
            if stable and float(entropy.mean()) < CONFIDENCE:
                break
            previous, soft = best, z
        return best[0].tolist(), logits[0].float().log_softmax(-1)


class State:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: dict[str, Any] = dict(PLAIN)
        self.seen: list[dict[str, Any]] = []
        self.running = 0
        self.peak = 0
        self.prompts: list[list[int]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model
    state: State

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.serve(None)

    def do_POST(self) -> None:
        self.serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def serve(self, body: bytes | None) -> None:
        state = self.state
        if self.path == "/_test":
            with state.lock:
                if body is None:
                    told = {"seen": state.seen, "peak": state.peak}
                    state.seen, state.peak = [], 0
                else:
                    state.now = PLAIN | json.loads(body)
                    state.prompts = []
                    told = {}
            self.reply(200, json.dumps(told).encode())
            return
        entry = {
            "path": self.path,
            "key": self.headers.get("Authorization") is not None,
            "body": json.loads(body) if body else None,
            "at": time.monotonic(),
            "port": self.client_address[1],
            "outcome": "running",
        }
        heavy = self.path in ("/v1/completions", "/v1/chat/completions")
        with state.lock:
            state.seen.append(entry)
            state.running += heavy
            state.peak = max(state.peak, state.running)
            faults = state.now["faults"].get(self.path, [])
            fault = faults.pop(0) if faults else {}
        try:
            entry["outcome"] = self.answer(entry["body"], fault)
        except Gone:
            entry["outcome"] = "gone"
            self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            entry["outcome"] = "gone"
            self.close_connection = True
        finally:
            entry["until"] = time.monotonic()
            with state.lock:
                state.running -= heavy

    def answer(self, body: Any, fault: dict[str, Any]) -> str:
        now = self.state.now
        if "slow" in fault:
            self.wait(fault["slow"])
        if "drop" in fault:
            self.close_connection = True
            return "dropped"
        if "status" in fault:
            text = json.dumps({"error": {"message": fault.get("message", "a fault"), "code": 0}})
            self.reply(fault["status"], text.encode(), headers=fault.get("headers", {}))
            return str(fault["status"])
        if "raw" in fault:
            self.reply(200, fault["raw"].encode())
            return "raw"
        try:
            if now["key"] is not None and self.path.startswith("/v1"):
                check(self.headers.get("Authorization") == f"Bearer {now['key']}", "", 401)
            told = self.route(body, fault)
        except Bad as bad:
            said: Any = {"message": str(bad), "type": "BadRequestError", "code": bad.status}
            self.reply(
                bad.status,
                json.dumps({"error": said if bad.status != 401 else "Unauthorized"}).encode(),
            )
            return str(bad.status)
        if told is not None:
            content = json.dumps(told).encode()
            if "cut" in fault:
                self.reply(200, content, cut=fault["cut"])
                return "cut"
            self.reply(200, content)
        return "200"

    def reply(
        self, status: int, body: bytes, *, headers: Any = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def wait(self, seconds: float) -> None:
        """Sleeps, and notices at once when the client hangs up."""
        if select.select([self.connection], [], [], seconds)[0]:
            raise Gone

    def route(self, body: Any, fault: dict[str, Any]) -> Any:
        now, model = self.state.now, self.model
        vllm = now["kind"] != "openai"
        match self.path:
            case "/v1/models":
                card = {"id": MODEL, "object": "model", "owned_by": "vllm" if vllm else "someone"}
                return {
                    "object": "list",
                    "data": [card | ({"max_model_len": CONTEXT} if vllm else {})],
                }
            case "/version" if vllm:
                return {"version": "0.33.0" if now["kind"] == "pinned" else "0.24.0"}
            case "/tokenize" if vllm:
                special = body.get("add_special_tokens", True)
                tokens = model.tokenizer.encode(body["prompt"], add_special_tokens=special).ids
                return {"count": len(tokens), "max_model_len": CONTEXT, "tokens": tokens}
            case "/detokenize" if vllm:
                text = model.tokenizer.decode(body["tokens"], skip_special_tokens=False)
                return {"prompt": text}
            case "/tokenizer_info" if vllm and now["info"]:
                added = {str(entry["id"]): entry for entry in model.config["added_tokens"]}
                return {"tokenizer_class": "T", "added_tokens_decoder": added}
            case "/v1/completions" if vllm:
                return self.complete(body, fault)
            case "/v1/chat/completions":
                return self.chat(body)
        raise Bad("Not Found", 404)

    def complete(self, body: Any, fault: dict[str, Any]) -> Any:
        now, model = self.state.now, self.model
        check("suffix" not in body, "suffix is not currently supported")
        for name, value in body.items():
            check(name in REQUEST, f"this test server knows no field {name}")
            right = isinstance(value, REQUEST[name]) and (
                REQUEST[name] is bool or value is not True
            )
            check(right, f"{name}: Input should be valid")
        check(body["model"] == MODEL, f"The model `{body['model']}` does not exist.", 404)
        prompt = body["prompt"]
        check(bool(prompt) and all(whole(t) and t >= 0 for t in prompt), "prompt: should be ids")
        check(max(prompt) < model.vocabulary, "Token id is out of vocabulary")
        named = body.get("logprob_token_ids")
        logprobs = body.get("logprobs")
        if named is not None:
            check(logprobs is not None, "when using `logprob_token_ids`, `logprobs` must be set.")
            check(bool(named) and len(named) <= 128, "`logprob_token_ids` must hold 1 to 128 ids")
            check(logprobs == len(named), "logprobs must equal the number of logprob_token_ids")
        elif logprobs is not None:
            check(logprobs <= MAX_LOGPROBS, f"Requested logprobs of {logprobs}, greater than max")
        extra = narrowed(body.get("vllm_xargs") or {})
        if now["kind"] == "vllm":
            extra = {}
        extra = checked_fields(extra, model.vocabulary)
        width = extra.get("diffusion_canvas_length") or CANVAS
        count = min(body.get("max_tokens", 16), width)
        check(len(prompt) + count <= CONTEXT, f"This model's maximum context length is {CONTEXT}")
        check(extra.get("diffusion_read_only") == 1 or not extra, "this test server only reads")
        seed, pins = extra.get("diffusion_seed_canvas"), extra.get("diffusion_pinned") or []
        cap = min(extra.get("diffusion_max_steps") or STEPS, STEPS)
        best, table = model.denoise(
            prompt, seed, pins, width, cap, lambda: self.wait(now["step_s"])
        )
        if now["script"] is not None and seed is not None:
            self.recite(now["script"], seed, pins, best, table)
        if now["changes"]:
            for pin in pins:
                best[pin] = (best[pin] + 1 + (best[pin] + 1 == seed[pin])) % model.vocabulary
        best = best[: fault.get("tokens", count)]
        choice: dict[str, Any] = {
            "index": 0,
            "text": model.tokenizer.decode(best, skip_special_tokens=False),
            "finish_reason": "length",
            "logprobs": None,
        }
        if body.get("return_token_ids"):
            choice |= {"token_ids": best, "prompt_token_ids": prompt}
        if logprobs is not None:
            choice["logprobs"] = self.logprobs(best, table, named, logprobs)
        usage: dict[str, Any] = {"prompt_tokens": len(prompt), "completion_tokens": len(best)}
        if now["caching"]:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached(prompt)}
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": MODEL,
            "choices": [choice],
            "usage": usage,
        }

    @torch.inference_mode()
    def recite(self, script: Any, seed: Any, pins: Any, best: list[int], table: Any) -> None:
        """As a model would that knows the text: it is sure of it, and of nothing else."""
        held = set(pins)
        hole = [at for at in range(len(seed)) if at not in held]
        table[:] = torch.tensor(-9.0)
        for at in pins:
            best[at] = seed[at]
            table[at, seed[at]] = -0.1
        sure = -4.0
        for text, logprob in script.items():
            ids = self.model.tokenizer.encode(text, add_special_tokens=False).ids
            if len(ids) == len(hole):
                sure = logprob
                for at, token in zip(hole, ids, strict=True):
                    best[at] = token
        for at in hole:
            table[at, best[at]] = sure

    def logprobs(self, best: list[int], table: Any, named: Any, count: int) -> dict[str, Any]:
        tops = []
        for at, token in enumerate(best):
            wanted = named or table[at].topk(count).indices.tolist()
            tops.append(
                {f"token_id:{t}": max(float(table[at, t]), -9999.0) for t in [token, *wanted]}
            )
        return {
            "text_offset": [0] * len(best),
            "token_logprobs": [float(table[at, token]) for at, token in enumerate(best)],
            "tokens": [f"token_id:{token}" for token in best],
            "top_logprobs": tops,
        }

    def cached(self, prompt: list[int]) -> int:
        most = 0
        with self.state.lock:
            for earlier in self.state.prompts:
                same = next(
                    (n for n, (a, b) in enumerate(zip(earlier, prompt, strict=False)) if a != b),
                    min(len(earlier), len(prompt)),
                )
                most = max(most, same // 16 * 16)
            self.state.prompts.append(prompt)
        return most

    def chat(self, body: Any) -> Any:
        now = self.state.now
        check(body.get("model") == MODEL, "no such model", 404)
        check(isinstance(body.get("messages"), list), "messages: Field required")
        if now["kind"] == "openai":
            known = {"model", "messages", "max_tokens", "temperature", "stream"}
            check(set(body) <= known, f"unknown fields {set(body) - known}")
        text = now["chat"]
        if not now["chat_events"]:
            message = {"role": "assistant", "content": text}
            return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
        for number, piece in enumerate(["", *pieces, ""]):
            self.wait(now["step_s"])
            last = number == len(pieces) + 1
            if last and now.get("breaks"):
                return None
            choice = {
                "index": 0,
                "delta": {"content": piece},
                "finish_reason": "stop" if last else None,
            }
            self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        return None


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    handler = type("Bound", (Handler,), {"model": Model(folder), "state": State()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    urls = {"url": f"http://127.0.0.1:{server.server_port}"}
    if len(sys.argv) > 2:
        secure = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        # The handshake belongs to the connection's thread, or one bad client stops them all.
        secure.socket = context.wrap_socket(
            secure.socket, server_side=True, do_handshake_on_connect=False
        )
        urls["tls"] = f"https://localhost:{secure.server_port}"
        threading.Thread(target=secure.serve_forever, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(urls), flush=True)
    sys.stdin.read()  # whoever started it ends it by closing this


if __name__ == "__main__":
    main()
