#!/usr/bin/env bash
# fetch.sh FOLDER: VS Code as code-server, a Chromium and the means to drive them, in FOLDER, nothing installed.
# Node and npm must be there. Prints nothing; FOLDER/ready says that all is.
#
# $CHROMIUM names a Chromium to use; otherwise the one on PATH, otherwise the distribution's packages are
# unpacked, which takes no root.
set -euo pipefail
code_server=4.139.1 # VS Code 1.139.1
playwright=1.65.2
mkdir -p "$1"
folder=$(cd "$1" && pwd)
ready="code-server $code_server, playwright $playwright"
[ "$(cat "$folder/ready" 2>/dev/null)" != "$ready" ] || exit 0
rm -f "$folder/ready"
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "needs $tool, version 20 or later" >&2; exit 3; }
done
cd "$folder"
export npm_config_loglevel=error npm_config_fund=false npm_config_audit=false

# Playwright brings a Node that is new enough for code-server; the system's may be older. It is kept
# apart from the environment of the tests, which is also that of everyone who does not need it.
"${PYTHON:-python3}" -m pip install -q --disable-pip-version-check --upgrade \
  --target python "playwright==$playwright" >&2

# Without scripts, because they compile modules that nothing here uses, one of which needs Kerberos;
# forced, because the system's Node may be older than what code-server runs on.
[ -f package.json ] || echo '{"private": true}' >package.json
npm install --ignore-scripts --force --no-save "code-server@$code_server" >/dev/null
cd node_modules/code-server/lib/vscode
npm install --ignore-scripts --force --omit=dev >/dev/null
ln -sfn node_modules node_modules.asar
cd "$folder"

chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$chromium" ]; then
  command -v apt-get >/dev/null || { echo "needs Chromium; name one in CHROMIUM" >&2; exit 3; }
  apt=(apt-get -qq -o APT::Sandbox::User= -o Debug::NoLocking=true
    -o Acquire::Retries=3 -o Acquire::http::Timeout=20)
  debs() {
    rm -rf debs root && mkdir debs
    local packages
    packages=$("${apt[@]}" install --simulate --no-install-recommends chromium | awk '/^Inst/ { print $2 }')
    # shellcheck disable=SC2086 # one word a package
    [ -n "$packages" ] && (cd debs && "${apt[@]}" download $packages >&2)
  }
  if ! debs; then
    # The system's lists are old or were never fetched; these are our own.
    mkdir -p apt/lists/partial apt/archives/partial
    apt+=(-o "Dir::State::lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt" -o Acquire::Languages=none)
    "${apt[@]}" update >&2
    debs || { echo "apt has no package chromium; name a Chromium in CHROMIUM" >&2; exit 3; }
  fi
  for package in debs/*.deb; do dpkg-deb -x "$package" root; done
  rm -rf debs apt
  libraries=$(find "$folder/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
  chromium=$folder/chromium
  cat >"$chromium" <<END
#!/bin/sh
export LD_LIBRARY_PATH='$libraries'
exec '$folder/root/usr/lib/chromium/chromium' "\$@"
END
  chmod +x "$chromium"
fi
echo "$chromium" >chromium-path
"$chromium" --version >&2
echo "$ready" >ready
