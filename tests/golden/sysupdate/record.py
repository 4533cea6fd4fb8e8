#!/usr/bin/env python3
"""Asks systemd-sysupdate about generated situations and writes what it answers, one JSON object a line.

usage: record.py SYSTEM_ROOT [COUNT]

SYSTEM_ROOT is a Debian sid made by
    tests/interop/system-root SYSTEM_ROOT
The situations come from a seed, so that the same systemd gives the same lines. Needs root, for chroot.
"""
import json, os, random, shutil, subprocess, sys

SYSTEM = sys.argv[1]
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 60
CASE = os.path.join(SYSTEM, "case")
# From this situation on there is more than files.
WIDE = 80
# Versions that orders disagree about.
POOL = ["1.0", "1.0.0", "1.2", "1.10", "1.2~rc1", "1.2-2", "1.2-10", "1.2.3a", "1.2.3", "1.2+7", "1.2^1", "2", "10",
        "2024.01.05", "v3", "3_1", "4.0-rc1", "4.0", "abc"]


def names(rng, transfer, versions):
    """File names of some versions, by the first or the second pattern."""
    second = transfer["patterns"][1:]
    return {v: (second[0] if second and rng.random() < 0.4 else transfer["patterns"][0]).replace("@v", v) for v in versions}


def generate(rng):
    transfers, features = [], {}
    if rng.random() < 0.4:
        features["extra"] = rng.random() < 0.5
    shared = rng.sample(POOL, rng.randint(1, 6))
    for n in range(rng.choice([1, 1, 1, 2, 2, 3])):
        base = "abc"[n]
        patterns = [f"{base}-@v.raw"]
        if rng.random() < 0.3:
            patterns.append(f"{base}_@v.img")
        t = {"id": f"{n}0-{base}", "patterns": patterns, "kind": rng.choice(["url-file", "regular-file"]),
             "target": [f"{base}-@v.raw"] + ([f"{base}_@v.img"] if len(patterns) > 1 else []),
             "max": rng.choice([None, 2, 2, 3, 4]) if n == 0 else None,
             "min": rng.choice(POOL) if rng.random() < 0.2 else None,
             "protect": rng.sample(POOL, 1) if rng.random() < 0.25 else [],
             "link": f"{base}.raw" if rng.random() < 0.4 else None,
             "feature": "extra" if features and (n > 0 or rng.random() < 0.2) else None}
        if n > 0:
            t["max"] = transfers[0]["max"]
        drop = lambda vs: [v for v in vs if rng.random() < 0.85]
        t["offered"] = names(rng, t, drop(shared))
        have = [v for v in POOL if rng.random() < 0.12] + [v for v in shared if rng.random() < 0.25]
        t["installed"] = {v: t["target"][0].replace("@v", v) for v in dict.fromkeys(have)}
        transfers.append(t)
    # What is installed is mostly whole: the same versions everywhere, sometimes one missing.
    for t in transfers[1:]:
        have = [v for v in transfers[0]["installed"] if rng.random() < 0.9]
        t["installed"] = {v: t["target"][0].replace("@v", v) for v in have}
    return {"transfers": transfers, "features": features}


def widen(rng, case):
    """Directories, what is read-only, modes and boot attempts; counted from WIDE on, so that earlier situations stay."""
    case["wide"] = True
    for t in case["transfers"]:
        base = t["patterns"][0][0]
        t["mode"] = rng.choice([None, None, "0640", "0755"])
        t["ro"] = rng.choice([None, None, "yes"])
        t["offered_mode"] = rng.choice([0o644, 0o600, 0o775, 0o444])
        t["tries"] = rng.choice([None, 5])
        if rng.random() < 0.4:
            # A directory that is read-only is what systemd 262 cannot move to its place.
            t.update({"kind": "directory", "patterns": [f"{base}-@v"], "target": [f"{base}-@v"], "ro": None})
            t["link"] = base if t["link"] else None
            for names in ("offered", "installed"):
                t[names] = {v: f"{base}-{v}" for v in t[names]}
        elif rng.random() < 0.5:
            t["target"] = [f"{base}-@v+@l-@d.raw"] + t["target"]


def definition(t):
    lines = ["[Transfer]", "Verify=no"]
    lines += [f"MinVersion={t['min']}"] if t["min"] else []
    lines += [f"ProtectVersion={v}" for v in t["protect"]]
    lines += [f"Features={t['feature']}"] if t["feature"] else []
    path = f"file:///case/source/{t['id']}" if t["kind"] == "url-file" else f"/srv/{t['id']}"
    lines += ["[Source]", f"Type={t['kind']}", f"Path={path}", "MatchPattern=" + " ".join(t["patterns"])]
    kind = "directory" if t["kind"] == "directory" else "regular-file"
    lines += ["[Target]", f"Type={kind}", f"Path=/var/lib/{t['id']}", "MatchPattern=" + " ".join(t["target"])]
    lines += [f"InstancesMax={t['max']}"] if t["max"] else []
    lines += [f"CurrentSymlink={t['link']}"] if t["link"] else []
    for key, value in (("Mode", "mode"), ("ReadOnly", "ro"), ("TriesLeft", "tries")):
        lines += [f"{key}={t[value]}"] if t.get(value) else []
    return "\n".join(lines) + "\n"


def put(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def instance(t, place, name):
    """A file, or a directory with one in it, that holds its name."""
    put(f"{place}/{name}/text" if t["kind"] == "directory" else f"{place}/{name}", f"bytes of {name}\n")


def build(case):
    import hashlib
    shutil.rmtree(CASE, ignore_errors=True)
    root = os.path.join(CASE, "root")
    for t in case["transfers"]:
        put(f"{root}/usr/lib/sysupdate.d/{t['id']}.transfer", definition(t))
        source = f"{CASE}/source/{t['id']}" if t["kind"] == "url-file" else f"{root}/srv/{t['id']}"
        os.makedirs(source, exist_ok=True)
        os.makedirs(f"{root}/var/lib/{t['id']}", exist_ok=True)
        sums = []
        for name in t["offered"].values():
            instance(t, source, name)
            if case.get("wide"):
                os.chmod(f"{source}/{name}", 0o755 if t["kind"] == "directory" else t["offered_mode"])
            sums.append(f"{hashlib.sha256(f'bytes of {name}' .encode() + bytes([10])).hexdigest()}  {name}\n")
        if t["kind"] == "url-file":
            put(f"{source}/SHA256SUMS", "".join(sorted(sums)))
        for name in t["installed"].values():
            instance(t, f"{root}/var/lib/{t['id']}", name)
        if t["link"] and t.get("linked"):
            os.symlink(t["linked"], f"{root}/var/lib/{t['id']}/{t['link']}")
    for name, on in case["features"].items():
        put(f"{root}/usr/lib/sysupdate.d/{name}.feature", f"[Feature]\nEnabled={'yes' if on else 'no'}\n")


def ask(*args):
    command = ["chroot", SYSTEM, "/usr/lib/systemd/systemd-sysupdate", "--root=/case/root", "--json=short", *args]
    ran = subprocess.run(command, capture_output=True, text=True)
    out = ran.stdout.strip()
    return {"exit": ran.returncode, "out": json.loads(out) if out.startswith("{") else None}, ran.stderr


def files(case):
    found = {}
    for t in case["transfers"]:
        d = f"{CASE}/root/var/lib/{t['id']}"
        names = sorted(os.listdir(d))
        found[t["id"]] = {
            "files": [n for n in names if not os.path.islink(f"{d}/{n}")],
            **({"modes": {n: oct(os.stat(f"{d}/{n}").st_mode & 0o7777) for n in names
                          if os.path.isfile(f"{d}/{n}") and not os.path.islink(f"{d}/{n}")}} if case.get("wide") else {}),
            "link": os.readlink(f"{d}/{t['link']}") if t["link"] and os.path.islink(f"{d}/{t['link']}") else None,
        }
    return found


def main():
    if os.environ.get("RECORDING") != "1":
        # systemd needs /proc and /dev; a mount namespace of our own leaves no trace.
        mounts = 'mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/run" && shift && exec "$@"'
        again = ["unshare", "-m", "--propagation", "private", "sh", "-c", mounts, "sh", SYSTEM, sys.executable, *sys.argv]
        os.execvpe(again[0], again, {**os.environ, "RECORDING": "1"})
    for seed in range(COUNT):
        rng = random.Random(f"reconcile {seed}")
        case = generate(rng)
        if seed >= WIDE:
            widen(rng, case)
        # As an earlier update left it: links lead to what is current.
        build(case)
        current = (ask("list")[0]["out"] or {}).get("current")
        for t in case["transfers"]:
            t["linked"] = t["installed"].get(current) if t["link"] else None
        build(case)
        case["seed"] = seed
        case["list"], _ = ask("list")
        case["check-new"], _ = ask("check-new")
        some = (case["list"]["out"] or {}).get("all", [])
        if some:
            version = rng.choice(some)
            case["detail"], _ = ask("list", version)
            if case["detail"]["out"]:
                del case["detail"]["out"]["contents"]
        case["vacuum"], _ = ask("vacuum")
        case["vacuum"]["after"] = files(case)
        build(case)
        case["update"], said = ask("update")
        case["update"]["after"] = files(case)
        case["update"]["list"], _ = ask("list")
        if case["update"]["exit"]:
            case["update"]["said"] = [l for l in said.splitlines() if l][-1]
        print(json.dumps(case, sort_keys=True))
    shutil.rmtree(CASE, ignore_errors=True)


main()
