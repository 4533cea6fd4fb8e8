#!/bin/sh
# Makes the files of this directory anew, with another key: `sh make.sh` here. Needs gpg 2.2 or later.
set -eu
cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill gpg-agent; rm -rf "$GNUPGHOME"' EXIT
g() {
    gpg --quiet --batch --yes --no-tty --pinentry-mode loopback --passphrase '' --trust-model always \
        --faked-system-time 20250101T120000 "$@"
}
g --quick-generate-key 'images <images@example.net>' ed25519 sign never
g --output import-pubring.pgp --export images@
sum=$(sha256sum < ../../images/squashfs-plain.raw.zst | cut -d' ' -f1)
printf '%s  demo_1.0.0.raw.zst\n' "$sum" > SHA256SUMS
g --local-user images@ --output SHA256SUMS.gpg --detach-sign SHA256SUMS
g --local-user images@ --armor --output SHA256SUMS.asc --detach-sign SHA256SUMS
