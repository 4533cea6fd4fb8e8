#!/usr/bin/env bash
# Boots this machine's own systemd as PID 1 of a throw-away container: an overlay over `/` whose writes stay in
# DIR/disk, so that a kill and another start are a crash and a reboot. As root; nothing of the machine is written.
#
#   boot.sh start DIR              boots and waits until systemd has done everything
#   boot.sh exec DIR COMMAND…      runs a command inside
#   boot.sh crash DIR              everything inside is gone at once, as without power but for the page cache
#   boot.sh keep DIR               waits for the end of its standard input, then takes everything away, DIR too
#
# DIR/share is /share inside.
set -euo pipefail
command=$1 dir=$2
shift 2

# PID 1 of this machine may be slow to reap: who is dead is told by its state.
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }

inside() {
    exec nsenter -t "$(cat "$dir/pid")" -m -u -i -n -p -C -r -w -- env -i \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 "$@"
}

# Runs in namespaces of its own and becomes systemd.
setup='
set -e
cd "$DIR"
mkdir -p disk/up disk/work root share
mount -t overlay overlay -o lowerdir=/,upperdir=disk/up,workdir=disk/work root
cd root
mkdir -p share proc sys dev run tmp etc mnt
mount --bind "$DIR/share" share
mount -t proc -o nosuid,nodev,noexec proc proc
# Settings of the kernel are those of the machine: nobody inside may change them.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys 2>/dev/null || mount --rbind /sys sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o nosuid,mode=755 tmpfs dev
mkdir dev/pts dev/shm
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 loop-control:10:237; do
    IFS=: read -r name major minor <<<"$node"
    mknod -m 666 "dev/$name" c "$major" "$minor"
done
# No udev inside makes the devices that extension images are mounted from.
for n in $(seq 0 63); do mknod -m 660 dev/loop$n b 7 $n; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
: >dev/console
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
if [ ! -e etc/first-boot-done ]; then
    # Not what this machine happens to have enabled.
    rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires
    rm -f etc/machine-id
    tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
    mkdir -p etc/systemd/system
    for unit in systemd-sysctl.service systemd-modules-load.service modprobe@.service sys-kernel-debug.mount \
        sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
        proc-sys-fs-binfmt_misc.automount systemd-timesyncd.service systemd-networkd.service \
        systemd-resolved.service systemd-update-utmp.service ldconfig.service e2scrub_reap.service \
        console-getty.service container-getty@.service getty.target; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    : >etc/first-boot-done
fi
pivot_root . mnt
cd /
umount -l /mnt
# What is mounted by a service must be seen by the others, as on a host.
mount --make-rshared /
ip link set lo up
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=test TERM=dumb LANG=C.UTF-8 \
    /lib/systemd/systemd --system --log-target=journal --show-status=0
'

crash() {
    [ -e "$dir/outer" ] || return 0
    local outer
    outer=$(cat "$dir/outer")
    if [ -e "$dir/pid" ]; then kill -9 "$(cat "$dir/pid")" 2>/dev/null || true; fi
    kill -9 "$outer" 2>/dev/null || true
    for _ in $(seq 500); do
        if ! alive "$outer"; then break; fi
        sleep 0.02
    done
    # Groups are gone when the last process in them is.
    for _ in $(seq 100); do
        find "$(cat "$dir/group")" -depth -type d -exec rmdir {} + 2>/dev/null || true
        if [ ! -e "$(cat "$dir/group")" ]; then break; fi
        sleep 0.02
    done
    rm -f "$dir/pid" "$dir/outer"
}

case $command in
start)
    mkdir -p "$dir"
    groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    if [ -z "$groups" ]; then
        groups=$dir/cgroup
        mkdir -p "$groups"
        mount -t cgroup2 cgroup2 "$groups"
    fi
    group=$groups/reconcile-test-$(basename "$dir")
    mkdir -p "$group"
    echo "$group" >"$dir/group"
    export DIR=$dir
    (
        echo $BASHPID >"$group/cgroup.procs"
        exec setsid unshare --mount --pid --fork --uts --ipc --cgroup --net --propagation private \
            --kill-child=SIGKILL bash -c "$setup"
    ) </dev/null >"$dir/log" 2>&1 &
    outer=$!
    echo $outer >"$dir/outer"
    pid=
    for _ in $(seq 1000); do
        pid=$(pgrep -P $outer -x systemd || true)
        [ -n "$pid" ] && [ -S "/proc/$pid/root/run/systemd/private" ] && break
        alive $outer || break
        sleep 0.02
    done
    if [ -z "$pid" ]; then
        echo "systemd did not start:" >&2
        cat "$dir/log" >&2
        exit 1
    fi
    echo "$pid" >"$dir/pid"
    state=unknown
    # `is-system-running --wait` has been seen to wait for 20 s.
    for _ in $(seq 1500); do
        state=$("$0" exec "$dir" systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) exit 0 ;; esac
        sleep 0.02
    done
    echo "systemd stays $state" >&2
    exit 1
    ;;
exec) inside "$@" ;;
crash) crash ;;
keep)
    cat >/dev/null
    crash
    mountpoint -q "$dir/cgroup" && umount "$dir/cgroup"
    rm -rf "$dir"
    ;;
*)
    echo "usage: boot.sh start|exec|crash|keep DIR [COMMAND…]" >&2
    exit 2
    ;;
esac
