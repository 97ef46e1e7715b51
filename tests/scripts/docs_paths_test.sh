#!/usr/bin/env bash
# Checks that every path in backticks in docs/architecture.md exists, from the repository's root or from src/ (NAME and
# GROUP stand for any name), and that every relative link in the documentation leads to a file.
# Usage: docs_paths_test.sh SOURCE_FOLDER
set -euo pipefail
cd "$1"
failed=0
while read -r path; do
  pattern=${path//NAME/*}
  pattern=${pattern//GROUP/*}
  if ! compgen -G "$pattern" >/dev/null && ! compgen -G "src/$pattern" >/dev/null; then
    echo "docs/architecture.md names $path, which exists neither at the root nor in src/."
    failed=1
  fi
done < <(grep -oE '`[A-Za-z0-9_.*-]+/[A-Za-z0-9_./*-]*`' docs/architecture.md | tr -d '`' | sort -u)
for document in README.md CONTRIBUTING.md docs/*.md; do
  while read -r link; do
    if [ ! -e "$(dirname "$document")/$link" ]; then
      echo "$document links to $link, which does not exist."
      failed=1
    fi
  done < <(grep -oE '\]\([^)#:]+[)#]' "$document" | sed -E 's/^\]\(//; s/[)#]$//' | sort -u)
done
exit "$failed"
