#!/usr/bin/env python3
"""Breaks kernels on purpose, one place at a time, and requires that the suites catch each mutant.

A mutation takes away a barrier or a guard, moves a bound by one or turns a sign. All of them are planted into a copy of
the C++ that mslc writes for the host, each behind a question for its number, and built there once; MSLT_MUTANT says
which one a run has. A mutant is caught where a suite fails, crashes or does not end. The first run builds the copy.
tools/equivalent_mutants.toml lists the mutants that do nothing wrong, with the reasons; they are not run. The exit status
is 1 where another one survives, or where the list names what is no mutant.

    tools/mutate_kernels.py                             all of them
    tools/mutate_kernels.py --list                      what there is to mutate, once the copy is built
    tools/mutate_kernels.py --sample 20 --seed 1        a random sample, shared out evenly over the kinds
    tools/mutate_kernels.py --only norm.metal:137       those of one line
    tools/mutate_kernels.py --checks host,asan          only with these checks
    tools/mutate_kernels.py --equivalent                those of the list, none of which a check may catch

The checks: host, reversed and random run the suites on msl-host in that order of threads, metal on the double of Metal,
asan and tsan on msl-host under the sanitizers. A mutant goes through them in turn until one catches it: through all
suites of the first check, those about its file before the others, and of the further ones through those about its file.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tools" / "equivalent_mutants.toml"
LEFT_OUT = "*EveryCandidateGivesTheTablesResults*"
# A mutant may loop for ever: each check has so many seconds of processor time, of which the suites need a tenth.
CHECKS = {
    "host": ("release", "backend_tests", "msl_host", [], 300),
    "reversed": ("release", "backend_tests", "msl_host", ["--order=reversed"], 300),
    "random": ("release", "backend_tests", "msl_host", ["--order=random:1"], 300),
    "metal": ("release", "metal_backend_tests", "metal", [], 300),
    "asan": ("asan", "backend_tests", "msl_host", [], 2400),
    "tsan": ("tsan", "backend_tests", "msl_host", [], 3600),
}
FOLDERS = {"backend_tests": "tests/backend", "metal_backend_tests": "tests/metal_double"}
# The suite of a file whose name does not tell it.
SUITES = {"attention_backward": "AttentionTest", "matvec": "LinearTest"}


# What the planted code asks.
HEADER = """#pragma once
#include <cstdlib>
#pragma GCC diagnostic ignored "-Wparentheses"
namespace mutants {
inline const int chosen = std::getenv("MSLT_MUTANT") ? std::atoi(std::getenv("MSLT_MUTANT")) : 0;
inline bool is(int mutant) { return chosen == mutant; }
// a < bound{n} < b is a < b, or a <= b in mutant n; the others alike.
struct bound { int mutant; };
template <class T> struct bounded { T a; bool is_mutant; };
template <class T> bounded<T> operator<(const T& a, bound m) { return {a, is(m.mutant)}; }
template <class T> bounded<T> operator<=(const T& a, bound m) { return {a, is(m.mutant)}; }
template <class T> bounded<T> operator>(const T& a, bound m) { return {a, is(m.mutant)}; }
template <class T> bounded<T> operator>=(const T& a, bound m) { return {a, is(m.mutant)}; }
template <class T, class U> bool operator<(bounded<T> l, const U& b) { return l.is_mutant ? l.a <= b : l.a < b; }
template <class T, class U> bool operator<=(bounded<T> l, const U& b) { return l.is_mutant ? l.a < b : l.a <= b; }
template <class T, class U> bool operator>(bounded<T> l, const U& b) { return l.is_mutant ? l.a >= b : l.a > b; }
template <class T, class U> bool operator>=(bounded<T> l, const U& b) { return l.is_mutant ? l.a > b : l.a >= b; }
// a - minus{n} - b is a - b, or a + b in mutant n.
struct minus { int mutant; };
template <class T> struct lessened { T a; bool is_mutant; };
template <class T> lessened<T> operator-(const T& a, minus m) { return {a, is(m.mutant)}; }
template <class T, class U> auto operator-(lessened<T> l, const U& b) { return l.is_mutant ? l.a + b : l.a - b; }
// a += sign{n} = b adds b, or takes it away in mutant n.
struct sign {
  int mutant;
  template <class T> T operator=(const T& b) const { return is(mutant) ? T(-b) : b; }
};
}
"""
INCLUDE = '#include "mutants.h"'


@dataclasses.dataclass(frozen=True)
class Mutation:
    kind: str
    file: str  # in kernels/
    line: int  # from 1
    nth: int  # of the line's
    number: int  # what MSLT_MUTANT says
    before: str
    after: str
    function: str

    def __str__(self):
        return f"{self.kind:8} {self.file}:{self.line}: {self.change()}"

    def change(self):
        return f"{self.before.strip()}  ->  {self.after.strip() or '(nothing)'}"

    # Stays true when lines move. Mutants of one name differ only in the line of one function.
    def name(self):
        return f"{self.file} {self.function}: {self.change()}"


COMPARED = r"(?:args\.\w+|count|columns|rows|last_row|end|last|limit|spans|steps|threads|simdgroups|vocab|\w+_count)"


def line_mutations(line, following):
    """(kind, what stands in the line's place, insertions) of each mutation; insertions are (place, text with {n})."""
    code = line.split("//")[0]
    if not code.strip() or code.lstrip().startswith("#") or "constexpr" in code:
        return
    indent = len(code) - len(code.lstrip())
    if re.match(r"\s*(threadgroup|simdgroup)_barrier\(.*\);", code):
        yield "barrier", "", [(indent, "if (!::mutants::is({n})) ")]
    for match in re.finditer(r" (<=|>=|<|>) (?=" + COMPARED + r"\b)", code):
        turned = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[match[1]]
        after = line[: match.start(1)] + turned + line[match.end(1) :]
        yield "bound", after, [(match.end(), "::mutants::bound{{{n}}} " + match[1] + " ")]
    match = re.match(r"(\s*if \()(.*)\) \{$", code)
    if match and following.strip() == "return;":
        yield "guard", f"{match[1]}false) {{", [(match.end(1), "!::mutants::is({n}) && ("), (match.end(2), ")")]
    match = re.search(r"\w+ == 0\.0f \? 0\.0f : ", code)
    if match:
        yield "guard", line[: match.start()] + line[match.end() :], [(match.start(), "!::mutants::is({n}) && ")]
    match = re.search(r"\binside && ", code)
    if match:
        yield "guard", line[: match.start()] + line[match.end() :], [
            (match.start(), "(::mutants::is({n}) || "), (match.start() + len("inside"), ")")]
    match = re.search(r" \|\| (!isfinite\([^)]*\]?\))", code)
    if match:
        yield "guard", line[: match.start()] + line[match.end() :], [
            (match.start(1), "(!::mutants::is({n}) && "), (match.end(1), ")")]
    match = re.search(r" && (row \+ r < last_row)", code)
    if match:
        yield "guard", line[: match.start()] + line[match.end() :], [
            (match.start(1), "(::mutants::is({n}) || "), (match.end(1), ")")]
    if "for (" not in code and "uint" not in code and "ulong" not in code:
        if " += " in code and re.search(r"total|sum|square|product|values|acc|\bp\b|result|grad", code):
            place = code.index(" += ") + len(" += ")
            yield "sign", line.replace(" += ", " -= ", 1), [(place, "::mutants::sign{{{n}}} = ")]
        match = re.search(r"[\w\])] (-) [\w(]", code)
        if match and re.search(r"float|[^=]= |\bm\b|return", code):
            after = line[: match.start(1)] + "+" + line[match.end(1) :]
            yield "sign", after, [(match.end(1) + 1, "::mutants::minus{{{n}}} - ")]


FUNCTION = re.compile(r"(?:\[\[.*?\]\] )?(?:kernel|inline) .*?(\w+)\(")


def function_at(file, line):
    """The function of kernels/ that has this line."""
    for text in reversed((ROOT / "kernels" / file).read_text().split("\n")[:line]):
        match = FUNCTION.match(text)
        if match:
            return match[1]
    return ""


def plant(units):
    """Plants all mutations into these files, and returns them."""
    found = {}
    (units[0].parent / "mutants.h").write_text(HEADER)
    for unit in units:
        lines = unit.read_text().split("\n")
        file, number = None, 0
        for i, line in enumerate(lines):
            place = re.match(r'#line (\d+) "(.*)"', line)
            if place:
                file = place[2].removeprefix("kernels/") if place[2].endswith((".metal", ".h")) else None
                number = int(place[1]) - 1
                continue
            number += 1
            if file is None:
                continue
            insertions = []
            following = lines[i + 1] if i + 1 < len(lines) else ""
            for nth, (kind, after, planted) in enumerate(line_mutations(line, following)):
                key = (file, number, nth)
                if key not in found:
                    found[key] = Mutation(kind, file, number, nth, len(found) + 1, line, after, function_at(file, number))
                insertions += [(at, text.format(n=found[key].number)) for at, text in planted]
            # Of those at one place the later ones stand inside.
            for at, text in sorted(reversed(insertions), key=lambda insertion: insertion[0], reverse=True):
                line = line[:at] + text + line[at:]
            lines[i] = line
        lines.insert(1, INCLUDE)
        unit.write_text("\n".join(lines))
    return sorted(found.values(), key=lambda m: (m.file, m.line, m.nth))


def suites_of(file):
    """The suites that are about a file of kernels/, or about the kernels that include it, in one way or another."""
    kernels = ROOT / "kernels"
    users, found = [file], set()
    for user in users:
        path = pathlib.Path(user)
        if path.suffix == ".metal":
            found.add(SUITES.get(path.stem, path.stem.title().replace("_", "") + "Test"))
            continue
        for other in [*kernels.glob("*.metal"), *kernels.glob("lib/*.h")]:
            name = str(other.relative_to(kernels))
            if name not in users and re.search(rf'#include "(lib/)?{path.name}"', other.read_text()):
                users.append(name)
    return sorted(found)


def equivalent_names(mutations):
    """The names of the mutants that the list calls equivalent."""
    names = [name for kind in tomllib.loads(EQUIVALENT.read_text())["kind"] for name in kind["mutants"]]
    wrong = sorted({n for n in names if names.count(n) > 1} | set(names) - {m.name() for m in mutations})
    if wrong:
        sys.exit(f"{EQUIVALENT.name} lists twice, or without such a mutant:\n  " + "\n  ".join(wrong))
    return set(names)


def sample_of(mutations, count, seed):
    dice = random.Random(seed)
    piles = {}
    for mutation in mutations:
        piles.setdefault(mutation.kind, []).append(mutation)
    for pile in piles.values():
        dice.shuffle(pile)
    chosen = []
    while len(chosen) < count and any(piles.values()):
        for pile in piles.values():
            if pile and len(chosen) < count:
                chosen.append(pile.pop())
    return chosen


class Copy:
    """The sources and their builds in a folder of their own."""

    def __init__(self, folder, jobs):
        self.folder = folder
        self.jobs = str(jobs)
        names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                               capture_output=True, text=True).stdout.split("\n")
        for name in filter(None, names):
            source, target = ROOT / name, folder / name
            if not source.is_file():
                continue
            if not target.exists() or target.read_bytes() != source.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)

    def step(self, preset, *arguments):
        with open(self.folder / f"{preset}.log", "a") as log:
            if subprocess.run(["cmake", *arguments], cwd=self.folder, stdout=log, stderr=log).returncode != 0:
                sys.exit(f"{log.name} says why the copy does not build.")

    def plant(self, preset):
        """Writes the kernels of a preset with all mutations, which are returned."""
        build = self.folder / "build" / preset
        if not (build / "build.ninja").exists():
            self.step(preset, "--preset", preset, "-DMSLT_BUILD_BENCH=OFF", "-DMSLT_PYTHON=", "-DMSLT_BUILD_FUZZ=OFF",
                      "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON")
        for unit in build.glob("mslt_kernel/host_*.cpp"):
            unit.unlink()
        self.step(preset, "--build", str(build), "-j", self.jobs, "--target", "mslt_kernel_sources")
        return plant(sorted(set(build.glob("mslt_kernel/host_*.cpp")) - {build / "mslt_kernel/host_kernels.cpp"}))

    def build(self, preset, programs):
        self.step(preset, "--build", str(self.folder / "build" / preset), "-j", self.jobs, "--target", *programs)

    def run(self, check, mutant=0, suites=(), others=True):
        """Why the check fails for a mutant, empty where it passes. These suites go first; 0 is none."""
        device = CHECKS[check][2]
        first = ":".join(f"*/{suite}.*/{device}" for suite in suites)
        why = self.suites(check, mutant, f"{first}:-{LEFT_OUT}") if suites else ""
        return why or (self.suites(check, mutant, f"*/{device}:-{LEFT_OUT}:{first}") if others else "")

    def suites(self, check, mutant, names):
        """Why one of the suites fails that the filter names, empty where they pass."""
        preset, program, _, arguments, seconds = CHECKS[check]
        arguments = [f"--gtest_filter={names}", *arguments]
        path = self.folder / "build" / preset / FOLDERS[program] / program
        try:
            done = subprocess.run(["sh", "-c", 'ulimit -t "$0" && exec "$@"', str(seconds), str(path),
                                   "--gtest_brief=1", "--gtest_fail_fast", *arguments], cwd=self.folder,
                                  capture_output=True, text=True, errors="replace", timeout=20 * seconds,
                                  env={**os.environ, "MSLT_MUTANT": str(mutant),
                                       "LSAN_OPTIONS": f"suppressions={self.folder}/tests/lsan.supp"})
        except subprocess.TimeoutExpired:
            return "it does not end"
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return "it does not end"
        if done.returncode == 0:
            return ""
        failed = re.search(r"\[  FAILED  \] (\S+)", done.stdout)
        report = re.search(r"(?:ERROR|WARNING): (\w+Sanitizer: [\w-]+)", done.stderr)
        return " ".join(m[1] for m in (report, failed) if m) or f"exit status {done.returncode}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the mutations and end")
    parser.add_argument("--sample", type=int, help="try so many instead of all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--only", action="append", default=[], help="FILE or FILE:LINE in kernels/; may be repeated")
    parser.add_argument("--checks", default=",".join(CHECKS), help="in this order (%(default)s)")
    parser.add_argument("--equivalent", action="store_true", help="try the listed mutants instead of the others")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "mutants", help="for the copy")
    parser.add_argument("--jobs", type=int, default=2, help="of the builds, and mutants at a time (2)")
    options = parser.parse_args()
    checks = options.checks.split(",")
    unknown = [check for check in checks if check not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]}; valid are {', '.join(CHECKS)}")

    copy = Copy(options.folder, options.jobs)
    presets = dict.fromkeys(CHECKS[check][0] for check in checks)
    mutations = [copy.plant(preset) for preset in presets][0]
    listed = equivalent_names(mutations)
    if options.only:
        mutations = [m for m in mutations if m.file in options.only or f"{m.file}:{m.line}" in options.only]
    if options.sample is not None:
        mutations = sample_of(mutations, options.sample, options.seed)
    equivalent = sum(m.name() in listed for m in mutations)
    if not options.list:
        mutations = [m for m in mutations if (m.name() in listed) == options.equivalent]
    if options.list:
        print(*mutations, sep="\n")
        print(f"{len(mutations)} mutations.")
        return 0
    if not mutations:
        parser.error("there is no such mutation")

    for preset in presets:
        copy.build(preset, dict.fromkeys(CHECKS[check][1] for check in checks if CHECKS[check][0] == preset))
    for check in checks:
        outcome = copy.run(check)
        if outcome:
            sys.exit(f"Without a mutation {check} fails: {outcome}")

    def verdict(mutation):
        for check in checks:
            outcome = copy.run(check, mutation.number, suites_of(mutation.file), others=check == checks[0])
            if outcome:
                return check, outcome
        return "", ""

    caught = dict.fromkeys(checks, 0)
    wrong = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for tried, (mutation, (check, outcome)) in enumerate(zip(mutations, pool.map(verdict, mutations)), 1):
            print(f"[{tried}/{len(mutations)}] {mutation}", flush=True)
            print(f"    caught by {check}: {outcome}" if check else "    survives", flush=True)
            if check:
                caught[check] += 1
            if bool(check) == options.equivalent:
                wrong.append(mutation)
    by = ", ".join(f"{check} {count}" for check, count in caught.items())
    if options.equivalent:
        print(f"\n{len(wrong)} of {len(mutations)} listed mutants were caught ({by}).")
    else:
        print(f"\n{sum(caught.values())} mutants were caught ({by}), {equivalent} are equivalent (reasoned), "
              f"{len(wrong)} are unexplained.")
    if wrong:
        print("Unexplained:", *(m.name() for m in wrong), sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
