#!/usr/bin/env bash
# From a fresh machine to generated text: installs dependencies, builds mslt, trains a tokenizer and the tiny model on a
# real text, and prints generated text.
# Usage: scripts/quickstart.sh [TEXT_FILE]
# MSLT_WERROR=ON makes compiler warnings errors; by default, new warnings of untested compilers do not stop the build.
# Without a file, the text is the King James Bible: from Debian's package, or the public-domain copy of Project Gutenberg.
set -euo pipefail
start=$PWD
cd "$(dirname "$0")/.."

case ${1:-} in
  -h | --help)
    sed -n '2,/^set /{/^#/s/^# //p}' "$0"
    exit
    ;;
esac
input=${1:-}
if [[ -n $input ]]; then
  [[ $input == /* ]] || input=$start/$input
  [[ -f $input && -r $input ]] || { echo "There is no text file $input. Usage: scripts/quickstart.sh [TEXT_FILE]" >&2; exit 2; }
fi

run=runs/quickstart
text=$run/text.txt
mkdir -p "$run"

preset=release
[[ $(uname -s) != Darwin ]] || preset=metal
scripts/install_dependencies.sh build
cmake --preset "$preset" -DMSLT_BUILD_TESTS=OFF -DMSLT_BUILD_BENCH=OFF -DMSLT_UNITY=ON \
  -DMSLT_WERROR="${MSLT_WERROR:-OFF}" >"$run/configure.log" ||
  { cat "$run/configure.log" >&2; exit 1; }
cmake --build --preset "$preset" --target mslt_program
mslt=build/$preset/bin/mslt

# Results of an earlier run of this script are kept until they can be replaced.
rm -rf "$run/model" "$run/data" "$run/tokenizer.json"
if [[ -n $input ]]; then
  [[ $input -ef $text ]] || cp "$input" "$text"
elif command -v bible >/dev/null; then
  # Each verse follows its reference, such as "Gen1:1 "; only the verses are kept.
  bible -f 'Gen1:1-Rev22:21' | sed -E 's/^[^ ]+ //' >"$text"
else
  curl -fsSL https://www.gutenberg.org/cache/epub/10/pg10.txt -o "$text"
fi

"$mslt" tokenizer train --input "$text" --vocab-size 1776 --output "$run/tokenizer.json"
"$mslt" data prepare --tokenizer "$run/tokenizer.json" --input "$text" --output "$run/data"
"$mslt" train --data "$run/data" --output "$run/model" --preset tiny --batch-size 16 --steps 800 --lr 3e-3 \
  --warmup 50 --eval-every 200
echo
echo "The model writes:"
"$mslt" generate --model "$run/model" --prompt "And God said" --max-new-tokens 200 --temperature 0.7 --seed 1
echo
echo "Look at $run/model/report.html, or go on with: $mslt generate --model $run/model --prompt 'And it came to pass'"
