"""Server processes that outlive the editor that started them."""

from pathlib import Path


def shared_servers(runtime: Path) -> list[int]:
    """Those of `infill-ls --connect` whose socket is in the folder `runtime`."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended
            if b"--socket" in words:
                socket = Path(words[words.index(b"--socket") + 1].decode())
                if socket.is_relative_to(runtime):
                    found.append(int(process.name))
    return found
