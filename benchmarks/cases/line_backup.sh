#!/usr/bin/env bash
set -euo pipefail

source_folder="${1:?usage: backup.sh FOLDER TARGET}"
target_folder="${2:?usage: backup.sh FOLDER TARGET}"

if [[ ! -d "$source_folder" ]]; then
  echo "no folder $source_folder" >&2
  exit 1
fi

mkdir -p "$target_folder"
⟦tar -czf "$target_folder/backup.tar.gz" "$source_folder"⟧
echo "backed up $source_folder to $target_folder"
