"""A language server that does nothing but start and end, slowly: `slow_server.py HOW PIDS`.

HOW is "slow" (it ends half a second after it was told to), "stubborn" (only SIGTERM ends it) or
"mute" (it never answers `initialize`). It adds its number to the file PIDS, and makes the file
PIDS.two when another of them still runs. With `doctor` behind them it prints what it was given.
"""

import json
import os
import sys
import time
from typing import Any


def message() -> dict[str, Any]:
    length = 0
    while line := sys.stdin.buffer.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return json.loads(sys.stdin.buffer.read(length)) if length else {"method": "exit"}


def answer(number: object, result: object) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    sys.stdout.flush()


def main(how: str, pids: str, *more: str) -> None:
    if "doctor" in more:
        print(json.dumps(more))
        return
    with open(pids, "a+") as file:
        file.seek(0)
        if any(os.path.exists(f"/proc/{pid}") for pid in file.read().split()):
            open(f"{pids}.two", "w").close()
        print(os.getpid(), file=file)
    while True:
        got = message()
        match got["method"]:
            case "initialize" if how != "mute":
                answer(got["id"], {"capabilities": {"textDocumentSync": 2}})
            case "shutdown" if how == "slow":
                answer(got["id"], None)
            case "exit":
                time.sleep(0.5 if how == "slow" else 60)
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
