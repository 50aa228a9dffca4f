"""A server process that keeps vLLM's contract for DiffusionGemma, for tests of the client.

    python vllm_contract.py FOLDER [AUTHORITY CERTIFICATE KEY]

makes a small random checkpoint in FOLDER, loads it, and prints one line of JSON with its URLs. At
`other` is a second server of the same model, which is told and tells for itself.
It checks every field of a request as vLLM 0.33 documents it (`vllm_rules.py`), denoises with the
real classes of transformers (`vllm_model.py`), and answers as vLLM does, with its traps: 16 tokens
unless told otherwise, the raw argmax at pinned places, pins that count in the budget and in the
stop, a step cap that cuts the schedule. One thing is not as there: a pin's soft embedding is not
zeroed.

`POST /_test` sets what it does; `GET /_test` tells what it saw and, without `?keep`, forgets it:

    kind       "pinned", "vllm" (takes no diffusion fields) or "openai" (knows nothing of vLLM)
    key        the bearer key that /v1 wants
    script     {text: log-probability}: a hole that holds exactly such a text gets it
    changes    True: pinned places come back as other tokens
    chat       the text of a chat answer; chat_events False sends it as one object
    step_s     seconds that each denoising step, or each event of a chat, takes
    caching    True: tells how many tokens of the prompt were read before
    info       True: has /tokenizer_info
    faults     {path: [fault, …]}, one per request:
               {"status": 503, "headers": {…}}   {"raw": text}: a body
               {"slow": seconds}                 {"drop": 1}: hangs up without an answer
               {"junk": text}: no HTTP           {"large": bytes}: a body of so many
               {"cut": bytes}, {"stall": bytes}: hangs up, or goes silent, in the middle
               {"tokens": how many}              {"mixed": 1}: the answer to another request
               {"nan": 1}, {"padding": 1}: what a model says that overflows
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
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))

import torch
from vllm_model import STEPS, Model
from vllm_rules import CANVAS, REQUEST, Bad, check, checked_fields, narrowed, whole

MODEL = "tiny/diffusion-gemma"
CONTEXT, MAX_LOGPROBS = 1600, 20
PADDING = 0
SILENCE = 60.0  # seconds; a client waits for less
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


class Gone(Exception):
    """The client hung up."""


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
    disable_nagle_algorithm = True  # as every real server does; it costs 40 ms an answer
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
        keep = self.path == "/_test?keep"
        self.path = urlsplit(self.path).path  # asked as a proxy, it answers as the server
        if self.path == "/_test":
            with state.lock:
                if body is None:
                    told = {"seen": state.seen, "peak": state.peak}
                    if not keep:
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
        if "junk" in fault:
            self.wfile.write(fault["junk"].encode())
            self.close_connection = True
            return "junk"
        if "large" in fault:
            self.reply(200, b" " * fault["large"])
            return "large"
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
            if "stall" in fault:
                self.reply(200, content, cut=fault["stall"])
                self.wait(SILENCE)
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
                return self.chat(body, fault)
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
            model.recite(now["script"], seed, pins, best, table)
        if now["changes"]:
            for pin in pins:
                best[pin] = (best[pin] + 1 + (best[pin] + 1 == seed[pin])) % model.vocabulary
        if "padding" in fault:
            best = [PADDING] * width
        best = best[: fault.get("tokens", count)]
        choice: dict[str, Any] = {
            "index": 0,
            "text": model.tokenizer.decode(best, skip_special_tokens=False),
            "finish_reason": "length",
            "logprobs": None,
        }
        if body.get("return_token_ids"):
            read = [*prompt, 9] if "mixed" in fault else prompt
            choice |= {"token_ids": best, "prompt_token_ids": read}
        if logprobs is not None:
            table = torch.full_like(table, torch.nan) if "nan" in fault else table
            choice["logprobs"] = model.logprobs(best, table, named, logprobs)
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

    def chat(self, body: Any, fault: dict[str, Any]) -> Any:
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
            if "stall" in fault and number == len(pieces) // 2:
                self.wait(SILENCE)
            choice = {
                "index": 0,
                "delta": {"content": piece},
                "finish_reason": "stop" if last else None,
            }
            other = "mixed" in fault and number == len(pieces) // 2
            chunk = {"id": "chatcmpl-2" if other else "chatcmpl-1", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        return None


def serve_tls(handler: Any, certificate: str, key: str, authority: str | None = None) -> int:
    """The port of a server that, with an `authority`, wants a certificate from its clients."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
    # The handshake belongs to the connection's thread, or one bad client stops them all.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    handler = type("Bound", (Handler,), {"model": Model(folder), "state": State()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    urls = {"url": f"http://127.0.0.1:{server.server_port}"}
    if len(sys.argv) > 2:
        urls["tls"] = f"https://localhost:{serve_tls(handler, *sys.argv[3:])}"
        asking = serve_tls(handler, *sys.argv[3:], authority=sys.argv[2])
        urls["asking"] = f"https://localhost:{asking}"
    other = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Other", (Handler,), {"model": handler.model, "state": State()})
    )
    urls["other"] = f"http://127.0.0.1:{other.server_port}"
    for each in (server, other):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    print(json.dumps(urls), flush=True)
    sys.stdin.read()  # whoever started it ends it by closing this


if __name__ == "__main__":
    main()
