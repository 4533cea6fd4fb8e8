#!/usr/bin/env python3
"""Asks systemd-sysext and systemd-confext what they make of the extensions of verdicts.json, and writes the answers.

usage: record.py VERSION [SYSTEM_ROOT] < verdicts.json

VERSION is the one of the systemd below SYSTEM_ROOT (`tests/interop/system-root` makes one), or of this machine's own. Every
case that has answers of this version is asked again; each line has its id and the answer. To record anew, or a new case,
give the case an answer of any kind and put what is written here in its place. Needs root, mksquashfs, mkfs.erofs and mke2fs;
each case runs in a mount namespace of its own.
"""
import concurrent.futures, json, os, shutil, subprocess, sys, tempfile

VERSION = sys.argv[1]
SYSTEM = sys.argv[2].rstrip("/") if len(sys.argv) > 2 else ""
DEBIAN = 'ID=debian\nVERSION_ID="12"\n'
# Longest that one case takes, in seconds.
TIME_MAX = 60
# What shows that an extension is merged, in it and beside it.
SHOWN = {"systemd-sysext": "usr/share/verdict", "systemd-confext": "etc/verdict"}
RELEASES = {"systemd-sysext": "usr/lib/extension-release.d", "systemd-confext": "etc/extension-release.d"}

# W is the case's directory as this program sees it: `root` is the whole host, or only what is in its /run.
SCRIPT = r"""
set -eu
if [ -n "$S" ]; then
    mount --bind "$S" "$S"
    mount -t proc proc "$S/proc"; mount -t sysfs sysfs "$S/sys"; mount --rbind /dev "$S/dev"
    mount -t tmpfs t "$S/run"
    enter="chroot $S"
else
    mount --bind "$W" /mnt
    mount -t tmpfs t /run
    enter=
fi
mkdir -p "$S/mnt"
[ -z "$S" ] || mount --bind "$W" "$S/mnt"
if [ -n "$LIVE" ]; then
    cp -a "$S/mnt/root/run/." "$S/run/"
    mount --bind "$S/mnt/root/usr/lib/os-release" "$S/usr/lib/os-release"
    for d in /etc/extensions /var/lib/extensions /var/lib/confexts; do
        [ ! -d "$S$d" ] || mount -t tmpfs t "$S$d"
    done
    at=
else
    at=--root=/mnt/root
fi
mount --make-rshared "${S:-/}"
$enter "$PROGRAM" $at --json=short list || true
echo
$enter "$PROGRAM" $at merge >&2 || echo failed >&2
base=${S}/mnt/root; [ -z "$LIVE" ] || base=$S
for one in case other; do
    [ ! -e "$base/$SHOWN/$one" ] || echo "$one"
done
$enter "$PROGRAM" $at unmerge >&2 || true
"""


def tree(place, files, strict):
    for path, text in files.items():
        path = os.path.join(place, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if text.startswith("->"):
            os.symlink(text[2:], path)
        else:
            data = bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()
            with open(path, "wb") as file:
                file.write(data)
    for path, value in strict.items():
        os.setxattr(os.path.join(place, path), "user.extension-release.strict", value.encode())


def make(form, source, to):
    os.makedirs(os.path.dirname(to), exist_ok=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    if form == "directory":
        shutil.copytree(source, to, symlinks=True)
    elif form == "squashfs":
        subprocess.run(["mksquashfs", source, to, "-noappend", "-all-root", "-quiet"], **quiet)
    elif form == "erofs":
        subprocess.run(["mkfs.erofs", to, source], **quiet)
    else:
        subprocess.run(["mke2fs", "-q", "-F", "-t", form, "-d", source, to, "2M"], **quiet)


def ask(case, work):
    program = "systemd-confext" if case.get("class") == "confext" else "systemd-sysext"
    root = os.path.join(work, "root")
    place = os.path.join(root, "run", "confexts" if "class" in case else "extensions")
    for path in [place, os.path.join(root, "usr/lib"), os.path.join(root, "etc"), os.path.join(root, "opt")]:
        os.makedirs(path)
    with open(os.path.join(root, "usr/lib/os-release"), "w") as file:
        file.write(case.get("host", DEBIAN))
    shown = SHOWN[program]
    source = os.path.join(work, "tree")
    files = {**case.get("files", {}), f"{shown}/case": "x"} if case["form"] != "none" else {}
    tree(source, files, case.get("strict", {}))
    at = os.path.join(place, case["entry"])
    if "link" in case:
        os.symlink(case["link"], at)
        at = os.path.normpath(os.path.join(place, case["link"]))
    elif case["form"] == "none":
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w") as file:
            file.write("x")
    if case["form"] != "none":
        make(case["form"], source, at)
    other = os.path.join(place, "other")
    tree(other, {f"{RELEASES[program]}/extension-release.other": "ID=_any\n", f"{shown}/other": "x"}, {})
    environment = {**os.environ, "S": SYSTEM, "W": work, "PROGRAM": program, "SHOWN": shown,
                   "LIVE": "yes" if "link" in case else ""}
    ran = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", SCRIPT], env=environment,
                         capture_output=True, text=True, timeout=TIME_MAX)
    if ran.returncode != 0:
        raise SystemExit(f"{case['id']}: {ran.stderr}")
    listed, _, merged = ran.stdout.partition("\n")
    names = [one["name"] for one in json.loads(listed or "[]") if one["name"] != "other"]
    merged = merged.split()
    verdict = "merged" if "case" in merged else "ignored" if "other" in merged else "breaks"
    return [verdict, *names]


def answer(case):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        return json.dumps({"id": case["id"], VERSION: ask(case, work)})


def main():
    cases = [case for case in json.load(sys.stdin) if VERSION in case]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as several:
        for line in several.map(answer, cases):
            print(line, flush=True)


main()
