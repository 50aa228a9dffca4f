#!/usr/bin/env bash
# fetch_terminal_editors.sh FOLDER: Emacs with lsp-mode, and Helix, as Debian's forky has them, unpacked into
# FOLDER/emacs and FOLDER/helix, nothing installed. FOLDER/emacs/emacs and FOLDER/helix/hx run them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)

program() { # program PATH: what is read from standard input becomes a program that runs
  cat >"$1.part"
  chmod +x "$1.part"
  "$1.part" --version >/dev/null
  mv "$1.part" "$1"
}

hx=$folder/helix/hx
if [ ! -x "$hx" ]; then
  loader=$("$here/fetch_debs.sh" forky "$folder/helix" hx)
  root=$folder/helix/root
  binary=$(find "$root/usr" -type f -perm -u+x \( -name hx -o -name helix \) | head -1)
  runtime=$(find "$root/usr" -type d -path '*helix*' -name runtime | head -1)
  program "$hx" <<END
#!/bin/sh
export HELIX_RUNTIME='$runtime'
exec $loader '$binary' "\$@"
END
fi

emacs=$folder/emacs/emacs
if [ ! -x "$emacs" ]; then
  loader=$("$here/fetch_debs.sh" forky "$folder/emacs" emacs-nox elpa-lsp-mode)
  root=$folder/emacs/root
  share=$(find "$root/usr/share/emacs" -maxdepth 1 -name '[0-9]*' | head -1)
  # It looks for its compiled Lisp beside the folder of its binary.
  ln -sfn "$(find "$root" -type d -name native-lisp | head -1)" "$root/usr/native-lisp"
  program "$emacs" <<END
#!/bin/sh
export EMACSDATA='$share/etc' EMACSDOC='$share/etc'
export EMACSPATH='$(find "$root/usr/libexec/emacs" -type d -name '*-linux-gnu' | head -1)'
export EMACSLOADPATH=\$(find '$share/lisp' -type d | tr '\\n' ':')
export ELPA_SRC='$root/usr/share/emacs/site-lisp/elpa-src'
exec $loader '$root/usr/bin/emacs-nox' --dump-file='$(find "$root" -name '*.pdmp' | head -1)' "\$@"
END
fi
echo "$folder"
