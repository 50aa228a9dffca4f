#!/usr/bin/env bash
# fetch_debs.sh SUITE FOLDER PACKAGE...: packages of a Debian suite with all they need, unpacked into
# FOLDER/root, nothing installed. Prints the command line of the loader that starts their programs.
#
# apt does the work, and checks every signature and hash, with a state of its own in FOLDER: to it
# nothing is installed, so it fetches libc and all. The system's apt is read for its mirror and is
# not changed; no root is needed.
set -euo pipefail
suite=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2

keys=/usr/share/keyrings/debian-archive-keyring.gpg
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "needs $tool, which Debian and Ubuntu have" >&2; exit 3; }
done
[ -r "$keys" ] || { echo "needs $keys (package debian-archive-keyring)" >&2; exit 3; }
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -m1 -E '/debian/?$' || true)}
[ -n "$mirror" ] || { echo "apt knows no Debian mirror; set DEBIAN_MIRROR" >&2; exit 3; }

apt=$folder/apt
rm -rf "$apt" "$folder/root"
mkdir -p "$apt"/{lists/partial,archives/partial,parts}
: >"$apt/status"
echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
own=(-qq
  -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
  -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives"
  -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
  -o "Dir::Etc::preferencesparts=$apt/parts" -o "Dir::Etc::preferences=$apt/none"
  -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::Languages=none -o APT::Sandbox::User= -o Debug::NoLocking=true)
apt-get "${own[@]}" update >&2
apt-get "${own[@]}" install --download-only --no-install-recommends --yes "$@" >&2
for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
rm -rf "$apt"

# The unpacked loader is started by name, so the programs need no change. Their children do not
# inherit the library path: the language server runs on the system's own libraries.
loader=$(find "$folder/root" -name 'ld-linux*.so.*' | head -1)
libraries=$(find "$folder/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
echo "'$loader' --library-path '$libraries'"
