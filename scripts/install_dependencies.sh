#!/usr/bin/env bash
# Installs the dependencies of mslt: through apt on Debian and Ubuntu, through Homebrew on macOS.
# Usage: scripts/install_dependencies.sh [build|test|check]
#   build  for the program (the default)    test  also for the tests
#   check  also for the sanitizer builds, the fuzzers, clang-format, clang-tidy and the pages in a browser; only on Debian and
#          Ubuntu
set -euo pipefail

level=${1:-build}
build_debian=(g++ cmake ninja-build libdnnl-dev libhwy-dev nlohmann-json3-dev libcli11-dev libfmt-dev libboost-context-dev
  libedit-dev libtomlplusplus-dev bible-kjv)
# libblas-dev: the products of a build without oneDNN. clang-19, its sanitizers' runtimes and the symbolizer in llvm-19: the
# kernels with planted defects. From libobjc-12-dev on: the Metal driver's tests, Objective-C++ on GNUstep. Open MPI (53 MB
# installed): training on several processes.
test_debian=(libgtest-dev libblas-dev python3-venv clang-19 libclang-rt-19-dev llvm-19
  libobjc-12-dev libgnustep-base-dev libblocksruntime-dev
  libopenmpi-dev openmpi-bin)
# chromium: the chat page and the report of profiles.
check_debian=(libbenchmark-dev clang-tidy-19 clang-format-19 lld-19 jq git chromium)
# macOS's Accelerate computes the matrix products.
build_homebrew=(cmake ninja highway nlohmann-json cli11 fmt boost tomlplusplus)
test_homebrew=(googletest google-benchmark)

debian=("${build_debian[@]}")
homebrew=("${build_homebrew[@]}")
if [[ $level == test || $level == check ]]; then
  debian+=("${test_debian[@]}")
  homebrew+=("${test_homebrew[@]}")
fi
if [[ $level == check ]]; then
  debian+=("${check_debian[@]}")
fi

if [[ $(uname -s) == Darwin ]]; then
  [[ $level != check ]] || { echo "These checks run on Debian and Ubuntu." >&2; exit 1; }
  command -v brew >/dev/null || { echo "Homebrew is needed to install: ${homebrew[*]}" >&2; exit 1; }
  brew install --quiet "${homebrew[@]}"
  exit
fi
command -v apt-get >/dev/null || { echo "There is neither apt nor Homebrew; please install: ${debian[*]}" >&2; exit 1; }

missing=()
for package in "${debian[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "Installing needs root or sudo; please install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
${as_root[@]+"${as_root[@]}"} apt-get update -qq
${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
