#!/usr/bin/env python3
"""Breaks kernels on purpose, one place at a time, and tells how many of the mutants the suites catch.

A mutation takes away a barrier or a guard, moves a bound by one or turns a sign. Each is applied to a copy of the
sources, which is built and tested there; a mutant is caught where a suite fails, crashes or does not end. What the
compilers refuse is no mutant. Without --list, the first run builds the whole copy.

    tools/mutate_kernels.py --list                      every mutation that there is
    tools/mutate_kernels.py --sample 20 --seed 1        a random sample, shared out evenly over the kinds
    tools/mutate_kernels.py --only norm.metal:137       those of one line
    tools/mutate_kernels.py --checks host,reversed,metal,asan,tsan

The checks: host, reversed and random run the suites on msl-host in that order of threads, metal on the double of Metal,
asan and tsan on msl-host under the sanitizers. A mutant goes through them in turn until one catches it: through all
suites of the first check, those about its file before the others, and of the further ones through those about its file.
"""

import argparse
import dataclasses
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
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


@dataclasses.dataclass(frozen=True)
class Mutation:
    kind: str
    file: str  # in kernels/
    line: int  # from 1
    before: str
    after: str

    def __str__(self):
        return f"{self.kind:8} {self.file}:{self.line}: {self.before.strip()}  ->  {self.after.strip() or '(nothing)'}"


GUARDS = (r"\w+ == 0\.0f \? 0\.0f : ", r"\binside && ", r" \|\| !isfinite\([^)]*\]?\)", r" && row \+ r < last_row")
COMPARED = r"(?:args\.\w+|count|columns|rows|last_row|end|last|limit|spans|steps|threads|simdgroups|vocab|\w+_count)"


def line_mutations(lines, i):
    """(kind, what stands in the line's place) of every mutation of line i."""
    line = lines[i]
    code = line.split("//")[0]
    if not code.strip() or code.lstrip().startswith(("#", "template", "constant constexpr", "MSLT_")):
        return
    if re.match(r"\s*(threadgroup|simdgroup)_barrier\(.*\);", code):
        yield "barrier", ""
    for match in re.finditer(r" (<=|>=|<|>) (?=" + COMPARED + r"\b)", code):
        turned = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[match[1]]
        yield "bound", line[: match.start(1)] + turned + line[match.end(1) :]
    following = lines[i + 1].strip() if i + 1 < len(lines) else ""
    if re.match(r"\s*if \(.*\) \{$", code) and following == "return;":
        yield "guard", re.sub(r"if \(.*\) \{", "if (false) {", line)
    for guard in GUARDS:
        match = re.search(guard, code)
        if match:
            yield "guard", line[: match.start()] + line[match.end() :]
    if "for (" not in code and "uint" not in code and "ulong" not in code:
        if " += " in code and re.search(r"total|sum|square|product|values|acc|\bp\b|result|grad", code):
            yield "sign", line.replace(" += ", " -= ", 1)
        match = re.search(r"[\w\])] (-) [\w(]", code)
        if match and re.search(r"float|[^=]= |\bm\b|return", code):
            yield "sign", line[: match.start(1)] + "+" + line[match.end(1) :]


def all_mutations():
    found = []
    kernels = ROOT / "kernels"
    for path in sorted([*kernels.glob("*.metal"), *kernels.glob("lib/*.h")]):
        lines = path.read_text().split("\n")
        for i in range(len(lines)):
            for kind, after in line_mutations(lines, i):
                found.append(Mutation(kind, str(path.relative_to(kernels)), i + 1, lines[i], after))
    return found


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

    def build(self, preset, target):
        """Whether it builds; the log is in the folder."""
        build = self.folder / "build" / preset
        with open(self.folder / f"{preset}.log", "w") as log:
            steps = [["cmake", "--build", str(build), "-j", self.jobs, "--target", target]]
            if not (build / "build.ninja").exists():
                steps.insert(0, ["cmake", "--preset", preset, "-DMSLT_BUILD_BENCH=OFF", "-DMSLT_PYTHON=",
                                 "-DMSLT_BUILD_FUZZ=OFF", "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON"])
            return all(subprocess.run(step, cwd=self.folder, stdout=log, stderr=log).returncode == 0 for step in steps)

    def run(self, check, suites=(), others=True):
        """Why the check fails, empty where it passes; None where the program does not build. These suites go first."""
        preset, program, device, _, _ = CHECKS[check]
        if not self.build(preset, program):
            return None
        first = ":".join(f"*/{suite}.*/{device}" for suite in suites)
        why = self.suites(check, f"{first}:-{LEFT_OUT}") if suites else ""
        return why or (self.suites(check, f"*/{device}:-{LEFT_OUT}:{first}") if others else "")

    def suites(self, check, names):
        """Why one of the suites fails that the filter names, empty where they pass."""
        preset, program, _, arguments, seconds = CHECKS[check]
        arguments = [f"--gtest_filter={names}", *arguments]
        path = self.folder / "build" / preset / FOLDERS[program] / program
        try:
            done = subprocess.run([str(path), "--gtest_brief=1", "--gtest_fail_fast", *arguments], cwd=self.folder,
                                  capture_output=True, text=True, errors="replace", timeout=20 * seconds,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds)))
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
    parser.add_argument("--checks", default="host,reversed,metal", help="in this order (host,reversed,metal)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "mutants", help="for the copy")
    parser.add_argument("--jobs", type=int, default=2, help="of the builds (2)")
    options = parser.parse_args()
    checks = options.checks.split(",")
    unknown = [check for check in checks if check not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]}; valid are {', '.join(CHECKS)}")

    mutations = all_mutations()
    if options.only:
        mutations = [m for m in mutations if m.file in options.only or f"{m.file}:{m.line}" in options.only]
    if options.sample is not None:
        mutations = sample_of(mutations, options.sample, options.seed)
    if options.list:
        print(*mutations, sep="\n")
        print(f"{len(mutations)} mutations.")
        return 0
    if not mutations:
        parser.error("there is no such mutation")

    copy = Copy(options.folder, options.jobs)
    for check in checks:
        outcome = copy.run(check)
        if outcome is None or outcome:
            print(f"Without a mutation {check} fails: {outcome or 'it does not build'}", file=sys.stderr)
            return 1
    caught, survived, invalid = [], [], []
    for number, mutation in enumerate(mutations, 1):
        target = options.folder / "kernels" / mutation.file
        original = target.read_text()
        lines = original.split("\n")
        lines[mutation.line - 1] = mutation.after
        target.write_text("\n".join(lines))
        try:
            verdict = "survives"
            for check in checks:
                outcome = copy.run(check, suites_of(mutation.file), others=check == checks[0])
                if outcome is None:
                    verdict = "is no mutant: it does not build"
                    break
                if outcome:
                    verdict = f"caught by {check}: {outcome}"
                    break
        finally:
            target.write_text(original)
        print(f"[{number}/{len(mutations)}] {mutation}\n    {verdict}", flush=True)
        (caught if verdict.startswith("caught") else survived if verdict == "survives" else invalid).append(mutation)
    print(f"\n{len(caught)} of {len(caught) + len(survived)} mutants were caught; {len(invalid)} did not build.")
    if survived:
        print("Survivors:", *survived, sep="\n  ")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
