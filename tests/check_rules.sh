#!/usr/bin/env bash
# check_rules.sh: holds the rules of the house that a program can hold: who may include whom, private headers, the length of
# files and functions, words and paths that do not belong in the repository. Prints each breach as file:line and ends with a
# line "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - <<'PYTHON'
import os, re, subprocess, sys

FILE_LINES_MAX, FUNCTION_LINES_MAX = 600, 70
PUBLIC_HEADER_LINES_MAX = 1500  # the whole manual of the API in one file, in lines that fit a terminal
TEST_FILE_LINES_MAX, TEST_FUNCTION_LINES_MAX = 1000, 100  # lists of cases may be long

# What each part may include besides itself. Strictly downward.
MAY_INCLUDE = {
    "include": set(),
    "blockdev/base": {"include"},
    "blockdev": {"include", "blockdev/base"},
    "wal": {"include", "blockdev", "blockdev/base"},
    "index": {"include", "blockdev", "blockdev/base"},
    "engine/lsm": {"include", "blockdev", "blockdev/base"},
    "engine": {"include", "blockdev", "blockdev/base", "wal", "index", "engine/lsm"},
    "tools": {"include"},
    "tools/dump": {"include", "tools", "blockdev", "blockdev/base", "wal", "index", "engine/lsm"},
    "bench": {"include", "blockdev", "blockdev/base"},
    "bench/micro": {"include", "blockdev", "blockdev/base", "wal", "index", "engine/lsm"},
    "examples": set(),
    "python": {"include"},
}
PARTS = ["blockdev/base", "blockdev", "wal", "index", "engine/lsm", "engine", "tools", "bench", "examples", "python", "tests",
         "include"]

def part_of(path):
    for part in PARTS:
        if path.startswith(part + "/"):
            return part
    return None

def includer_of(path):
    name, part = os.path.basename(path), part_of(path)
    if part == "tools" and name.startswith("dump"):
        return "tools/dump"      # prints formats, and so uses their own decoders
    if part == "bench" and name.endswith("_bench.c"):
        return "bench/micro"     # measures one layer from inside
    return part

breaches, checks = [], 0

def breach(path, line, text):
    breaches.append(f"{path}:{line}: {text}")

def check_includes(path, lines):
    includer = includer_of(path)
    for number, line in enumerate(lines, 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not found:
            continue
        target = "include/mote.h" if found.group(1) == "mote.h" else found.group(1)
        if not os.path.exists(target):
            local = os.path.join(os.path.dirname(path), target)
            if part_of(path) == "tests" and os.path.exists(local):
                continue
            breach(path, number, f'"{target}": include by the path from the top folder'
                   if os.path.exists(local) else f'"{target}" does not exist')
            continue
        # Unit tests look inside; nobody else does.
        if target.endswith("_private.h") and includer != "tests" and os.path.dirname(target) != os.path.dirname(path):
            breach(path, number, f'"{target}" is private to its folder')
        if includer in (None, "tests"):
            continue
        part = part_of(target)
        if part not in MAY_INCLUDE[includer] and target not in MAY_INCLUDE[includer] and part != part_of(path):
            breach(path, number, f'{part_of(path)} must not include {part} ("{target}")')

def check_lengths(path, lines):
    test = part_of(path) == "tests"
    file_max, function_max = (TEST_FILE_LINES_MAX, TEST_FUNCTION_LINES_MAX) if test else (FILE_LINES_MAX, FUNCTION_LINES_MAX)
    if path in ("include/mote.h", "include/mote.hpp"):
        file_max = PUBLIC_HEADER_LINES_MAX
    if len(lines) > file_max:
        breach(path, len(lines), f"{len(lines)} lines; split the file by concept (at most {file_max})")
    if path.endswith(".hpp"):
        return  # classes have their braces where C functions do
    # Our brace style: a function's body begins and ends with a brace alone in the first column.
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > function_max:
                breach(path, start, f"a function of {number - start - 1} lines (at most {function_max})")
            start = None

WORDS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
PATHS = re.compile(r"(?<![\w.])/(work|home|root|Users|mnt)/\w")

def check_words(path, lines):
    for number, line in enumerate(lines, 1):
        if WORDS.search(line):
            breach(path, number, "unfinished work is no part of a commit: " + WORDS.search(line).group(1))
        if PATHS.search(line):
            breach(path, number, "a path of somebody's machine: " + line.strip()[:80])

listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=False)
paths = [p for p in listed.stdout.decode().split("\0") if p and os.path.isfile(p)]
if not paths:  # not a clone: everything but build folders
    for folder, folders, names in os.walk("."):
        folders[:] = [f for f in folders if not f.startswith(("build", "."))]
        paths += [os.path.relpath(os.path.join(folder, name)) for name in names]
for path in sorted(paths):
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError:
        continue
    if lines and lines[-1] == "":
        lines.pop()
    before = len(breaches)
    if path.endswith((".c", ".h", ".hpp", ".inc")):
        check_includes(path, lines)
    if path.endswith((".c", ".h", ".hpp", ".sh", ".py")) or path in ("tests/run", "tools/quickstart"):
        check_lengths(path, lines)
    check_words(path, lines)
    checks += len(breaches) == before
print("\n".join(breaches) if breaches else "every file keeps the rules")
failed = len({b.split(":", 1)[0] for b in breaches})
print(f"{checks} passed, {failed} failed")
sys.exit(1 if breaches else 0)
PYTHON
