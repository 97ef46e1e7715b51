#!/usr/bin/env bash
# Checks the lists of "How to add ..." in docs/architecture.md against what is there: no operation, model family or
# device may stand in a file that its list lacks, and each must stand in every file that its list always asks for.
# Usage: how_to_add_test.sh SOURCE_FOLDER
set -euo pipefail
cd "$1"
failed=0

# The paths in the tables below a heading, one per line; NAME and GROUP stand for any name.
listed() {
  sed -n "/^## How to add $1\$/,/^## /p" docs/architecture.md | grep '^| ' | cut -d '|' -f 2 |
    grep -oE '`[^`]+`' | tr -d '`' | sed -E 's/NAME|GROUP/*/g'
}

# complain_unless_listed THING PATTERNS FILE...
complain_unless_listed() {
  local thing=$1 patterns=$2 file pattern
  shift 2
  for file in "$@"; do
    while read -r pattern; do
      # shellcheck disable=SC2053
      [[ ${file/%.mm/.cpp} == $pattern ]] && continue 2
    done <<<"$patterns"
    echo "$thing stands in $file, which docs/architecture.md does not list."
    failed=1
  done
}

# complain_unless_named THING REGEX FILE...: some of the files must match.
complain_unless_named() {
  local thing=$1 regex=$2
  shift 2
  if ! grep -qE "$regex" "$@"; then
    echo "$thing stands in none of $*."
    failed=1
  fi
}

patterns=$(listed "an operation")
operations=$(sed -n '/OperationList<Emb/,/>;/p' src/backend/operations/operations.h | grep -oE '[A-Z][A-Za-z]+' | grep -vxE 'Operations|OperationList')
for name in $operations; do
  # A library's replacement of an operation belongs to its device; matvec.h is a part of linear.cpp.
  mapfile -t files < <(grep -rlE "\(const $name&|$name::check|^struct $name \{" src/backend |
    grep -vE '^src/backend/(cuda|msl/drivers)/|/matvec\.h$' | sort)
  complain_unless_listed "The operation $name" "$patterns" "${files[@]}" src/backend/operations/operations.h
  complain_unless_named "The operation $name" "execute\(const $name&" src/backend/cpu/cpu_backend.h
  complain_unless_named "The operation $name" "execute\(const $name&" src/backend/msl/msl_backend.h
  complain_unless_named "The operation $name" "execute\(const $name&" src/backend/cpu/*.cpp
  complain_unless_named "The operation $name" "execute\(const $name&" src/backend/msl/*.cpp
  complain_unless_named "A test of $name" "\b$name\{" tests/backend/*_test.cpp
done

patterns=$(listed "a model family")
families=$(sed -nE 's/^enum class ModelFamily \{ (.*), mslt \};/\1/p' src/formats/hf_config.h | tr -d ,)
for name in $families; do
  mapfile -t files < <(grep -rlE "ModelFamily::$name\b" src include | sort)
  complain_unless_listed "The family $name" "$patterns" "${files[@]}" src/formats/hf_config.h \
    "tests/golden/hf_$name/config.json"
  complain_unless_named "The family $name" "ModelFamily::$name\b" src/formats/hf_config.cpp
  complain_unless_named "The family $name" "ModelFamily::$name\b" src/formats/hf_weights.cpp
  complain_unless_named "A test of $name" "ModelFamily::$name\b" src/formats/hf_config_test.cpp
  complain_unless_named "A test of $name" "\"hf_$name\"|\b$name\b" src/formats/model_folder_test.cpp
done

patterns=$(listed "a device")
for name in cuda metal host; do
  mapfile -t files < <(grep -rlE "make_msl_${name}_|backend/msl/drivers/$name/|^void emit_$name\b|string emit_$name\(" \
    src include cmake mslc | grep -vE '_test\.cpp$|/drivers/[a-z]+/|msl/test_kernels\.h|^src/backend/msl/CMakeLists' | sort)
  complain_unless_listed "The device $name" "$patterns" "${files[@]}" "src/backend/msl/drivers/$name/${name}_device.h"
done
[[ -n $operations && -n $families ]] || { echo "The lists of operations and families are not where they were."; failed=1; }
exit "$failed"
