"""`python -m release [FOLDER]`: builds a release into FOLDER (dist), checks it, and says so."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from release import build, check


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=build.ROOT / "dist")
    folder = parser.parse_args().folder.absolute()
    try:
        number = build.version()
        print(f"infill-ls {number}", flush=True)
        changelog = (build.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        if not build.is_in_changelog(number, changelog):
            print(f"  CHANGELOG.md has no section [{number}] yet: this is no final release")
        wheel, sdist, extension, plugin = files = build.build(folder)
        sums = build.write_sums(files)
        say("metadata", lambda: check.check_metadata([wheel, sdist]))
        say(sdist.name, lambda: check.check_sdist(sdist, wheel))
        say(extension.name, lambda: check.check_extension(extension, number))
        with check.installed(wheel) as programs:
            say(wheel.name, lambda: check.check_server(programs, number))
            say(plugin.name, lambda: check.check_neovim(plugin, programs))
        say(sums.name, lambda: check.check_sums(sums))
    except build.ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    for path in [*files, sums]:
        print(f"  {path.stat().st_size / 1e6:8.2f} MB  {path}")
    return 0


def say(name: str, checked: Callable[[], str]) -> None:
    print(f"  ✓ {name}: {checked()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
