#!/usr/bin/env python3
"""Asks systemd-vpick which of some names it picks and writes what it answers, one JSON object a line.

usage: record.py SYSTEM_ROOT [COUNT]

SYSTEM_ROOT is a Debian sid made by
    tests/interop/system-root SYSTEM_ROOT
The names come from a seed, so that the same systemd gives the same lines. Needs root, for chroot.
"""
import json, os, random, shutil, subprocess, sys, tempfile

SYSTEM = sys.argv[1]
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 300
VERSIONS = ["1", "1.0", "1.2", "1.10", "1.2~rc1", "1.2-2", "1.2^1", "2", "10", "abc", "2024.01.05", "3_1", "1+7.2", ""]
ARCHITECTURES = [""] * 6 + ["_x86-64", "_x86-64", "_arm64", "_riscv64", "_other"]
COUNTERS = [""] * 6 + ["+3", "+0", "+3-1", "+2-2", "+0-1", "+0-5", "+x", "+3-", "+03-1"]
# Hidden, half-done, of another name, of another kind.
OTHERS = [".demo_9.raw", ".#demo_9.raw", ".#hidden.reconcile.demo_9.raw", "other_9.raw", "demo-9.raw", "demo.raw", "demo_9.img",
          "demo_9.raw.tmp", "Demo_9.raw"]


def situation(rng):
    suffix = rng.choice([".raw", ".raw", ""])
    names = set()
    for _ in range(rng.randint(1, 6)):
        names.add("demo_" + rng.choice(VERSIONS) + rng.choice(ARCHITECTURES) + rng.choice(COUNTERS) + suffix)
    names.update(rng.sample(OTHERS, rng.randint(0, 3)))
    return {"suffix": suffix, "entries": sorted(names)}


def answer(case):
    place = tempfile.mkdtemp(dir=SYSTEM)
    try:
        seen = "/" + os.path.basename(place) + "/demo" + case["suffix"] + ".v"
        os.mkdir(SYSTEM + seen)
        for name in case["entries"]:
            path = os.path.join(SYSTEM + seen, name)
            if case["suffix"]:
                open(path, "w").close()
            else:
                os.mkdir(path)
        kind = "reg" if case["suffix"] else "dir"
        said = subprocess.run(["chroot", SYSTEM, "systemd-vpick", "--suffix=" + case["suffix"], "--type=" + kind,
                               "--print=filename", seen], capture_output=True, text=True)
        return said.stdout.strip() or None
    finally:
        shutil.rmtree(place)


rng = random.Random(262)
for number in range(COUNT):
    case = situation(rng)
    case["picked"] = answer(case)
    print(json.dumps(case))
