#!/usr/bin/env bash
# fetch_neovim.sh SUITE FOLDER: Neovim as a Debian suite has it, unpacked into FOLDER, nothing installed.
# forky has 0.12, trixie 0.10. Prints the path of a command that runs it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
folder=$(cd "$2" && pwd)
nvim=$folder/nvim
if [ -x "$nvim" ]; then echo "$nvim"; exit; fi

loader=$("$here/fetch_debs.sh" "$1" "$folder" neovim)
cat >"$nvim.part" <<END
#!/bin/sh
export VIMRUNTIME='$folder/root/usr/share/nvim/runtime'
exec $loader '$folder/root/usr/bin/nvim' "\$@"
END
chmod +x "$nvim.part"
"$nvim.part" --version >/dev/null
mv "$nvim.part" "$nvim"
echo "$nvim"
