#!/usr/bin/env bash
# All checks beyond the tests: formatting, static analysis, the tests under sanitizers, the fuzzers, and the pages in a browser.
# Usage: scripts/check.sh [format|configure|tidy|asan|tsan|fuzz|pages ...]; all of them without arguments.
# asan_build and tsan_build only build what asan and tsan test; asan_fuzz runs these two at the same time.
# FUZZ_SECONDS sets how long each fuzzer runs (60). MSLT_REPORT_LINES=OFF saves a sixth of the time of the builds with sanitizers,
# whose reports then name functions but no lines.
set -euo pipefail
cd "$(dirname "$0")/.."

check_format() {
  git ls-files '*.cpp' '*.h' '*.mm' | xargs clang-format-19 --dry-run --Werror
  echo "Formatting is as configured."
}

# Only the program, as the quick start builds it.
check_configure() {
  cmake --preset release -B build/program -DMSLT_BUILD_TESTS=OFF -DMSLT_BUILD_BENCH=OFF >/dev/null
  echo "The program can be built without the tests."
}

check_tidy() {
  # The sources of a module are analysed together, which reads and analyses their headers once.
  cmake --preset debug -B build/tidy -DCMAKE_CXX_COMPILER=clang++-19 -DMSLT_ANALYSIS=ON >/dev/null
  # Tests and generated files are compiled with all warnings, but not analysed.
  jq -r --arg root "$(pwd -P)" '.[].file | select(test("/(src|mslc)/.*mslt_[a-z]+\\.dir/Unity/") or
      startswith($root + "/src/") or startswith($root + "/mslc/"))' build/tidy/compile_commands.json |
    grep -vE '_test\.cpp$|_tables?\.cpp$|_tests\.dir' | sort -u >build/tidy/sources
  # Modules of many sources first, so that they do not end alone.
  { grep /Unity/ build/tidy/sources | xargs ls -S; grep -v /Unity/ build/tidy/sources; } |
    xargs -P 2 -n 1 clang-tidy-19 -p build/tidy --quiet 2>build/tidy/log || { cat build/tidy/log >&2; return 1; }
  echo "Static analysis is clean."
}

sanitizer_options=(-DMSLT_UNITY=ON -DMSLT_PYTHON=)
if [[ ${MSLT_REPORT_LINES:-ON} == OFF ]]; then
  sanitizer_options+=(-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1)
fi
# Also builds the benchmarks, which no test needs, to keep them compiling.
asan_options=("${sanitizer_options[@]}" -DMSLT_BUILD_BENCH=ON)

check_asan_build() {
  cmake --preset asan "${asan_options[@]}" >/dev/null
  cmake --build --preset asan
}

check_asan() {
  check_asan_build
  ctest --preset asan -j2
}

check_tsan_build() {
  cmake --preset tsan "${sanitizer_options[@]}" >/dev/null
  # The modules that run threads of their own, and the kernels, whose threads are fibers that the sanitizer sees as threads.
  cmake --build --preset tsan --target base_tests bpe_tests data_tests parallel_tests msl_tests backend_tests
}

check_tsan() {
  check_tsan_build
  ctest --preset tsan -j2 -R '^(base|bpe|data|parallel|msl|backend)/'
}

# run_fuzzers AT_ONCE
run_fuzzers() {
  local seconds=${FUZZ_SECONDS:-60}
  local fuzzers=(build/asan/tests/fuzz/fuzz_*)
  printf '%s\n' "${fuzzers[@]}" | xargs -P "$1" -I{} scripts/run_fuzzer.sh {} "$seconds"
  echo "${#fuzzers[@]} fuzzers ran for $seconds s each without a finding."
}

check_fuzz() {
  check_asan_build
  run_fuzzers 2
}

# asan and fuzz at the same time: the tests often wait for processes that they started, and leave a core to one fuzzer.
check_asan_fuzz() {
  check_asan_build
  local log status=0
  log=$(mktemp)
  run_fuzzers 1 >"$log" 2>&1 &
  local fuzzers=$!
  ctest --preset asan -j2 || status=1
  wait "$fuzzers" || status=1
  cat "$log"
  rm "$log"
  return "$status"
}

check_pages() {
  cmake --preset asan "${asan_options[@]}" >/dev/null
  cmake --build --preset asan --target mslt_program
  python3 tests/page/page_test.py src/serve/page.html
  python3 tests/page/report_test.py build/asan/bin/mslt
}

scripts/install_dependencies.sh check
[[ $# -gt 0 ]] || set -- format configure asan fuzz tsan tidy pages
for check in "$@"; do
  echo "== $check"
  "check_$check"
done
