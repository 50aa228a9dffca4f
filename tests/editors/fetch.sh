#!/usr/bin/env bash
# fetch.sh: what the tests in real editors need, into the user's cache; nothing is installed.
# What is there already is not fetched again. What cannot be had is named, and the exit status is 1.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/infill-ls
missing=()

try() { # try NAME COMMAND...: three times, for a network may fail for a moment
  local name=$1 status
  shift
  for pause in 0 5 20; do
    sleep "$pause"
    "$@" >/dev/null
    status=$?
    [ $status != 0 ] || return 0
    # 3: a tool is not there; 127: not even the command.
    case $status in 3 | 127) break ;; esac
  done
  missing+=("$name")
}

extension() {
  cd "$here/../../editors/vscode" || return
  [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund
}

try "Neovim 0.12" "$here/fetch_neovim.sh" forky "$cache/neovim-forky"
try "Neovim 0.10" "$here/fetch_neovim.sh" trixie "$cache/neovim-trixie"
try "VS Code" "$here/vscode/fetch.sh" "$cache/vscode"
try "what builds the VS Code extension" extension

for name in "${missing[@]}"; do
  echo "editors: $name could not be fetched, for the reason above; its tests will be skipped" >&2
done
[ ${#missing[@]} = 0 ]
