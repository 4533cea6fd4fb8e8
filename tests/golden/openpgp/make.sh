#!/bin/sh
# Makes the files of this directory anew, with other keys: `sh make.sh` in an empty directory.
# Needs gpg 2.2 or later.
set -eu
out=$PWD
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill gpg-agent; rm -rf "$GNUPGHOME"' EXIT

# g DATE ARGUMENT…: gpg at noon of a day.
g() {
    day=$1
    shift
    gpg --quiet --batch --yes --no-tty --pinentry-mode loopback --passphrase '' --trust-model always \
        --faked-system-time "${day}T120000" "$@"
}
# key DATE NAME ALGORITHM USAGE EXPIRE: a primary key.
key() { g "$1" --quick-generate-key "$2 <$2@example.net>" "$3" "$4" "$5"; }
fingerprint() { gpg --batch --with-colons --list-keys "=$1 <$1@example.net>" | awk -F: '/^fpr/ {print $10; exit}'; }
# sign DATE NAME FILE ARGUMENT…: a detached signature over SHA256SUMS.
sign() {
    day=$1 by=$2 file=$3
    shift 3
    g "$day" --local-user "=$by <$by@example.net>" "$@" --output "$out/$file" --detach-sign "$out/SHA256SUMS"
}
export_keys() {
    file=$1
    shift
    g 20250101 --output "$out/$file" --export "$@"
}

printf '%s  tool_1.0.raw\n' 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 > "$out/SHA256SUMS"

key 20240101 good ed25519 cert never
g 20240101 --quick-add-key "$(fingerprint good)" ed25519 sign never
export_keys good.pgp good@
g 20250101 --armor --output "$out/good.asc" --export good@
sign 20240601 good good.sig
sign 20240601 good good.sig.asc --armor
sign 20240601 good text.sig --textmode
sign 20250701 good future.sig
sign 20240601 good brief.sig --default-sig-expire 30d
sign 20240601 good notation.sig --sig-notation '!critical@example.net=yes'

key 20240101 rsa rsa3072 sign never
export_keys rsa.pgp rsa@
sign 20240601 rsa rsa.sig
sign 20240601 rsa sha1.sig --digest-algo SHA1
cat "$out/rsa.sig" "$out/good.sig" > "$out/two.sig"
g 20240601 --local-user rsa@ --local-user good@ --armor --output "$out/two.sig.asc" --detach-sign "$out/SHA256SUMS"

key 20240101 small rsa1024 sign never
export_keys small.pgp small@
sign 20240601 small small.sig
key 20240101 dsa dsa2048 sign never
export_keys dsa.pgp dsa@
sign 20240601 dsa dsa.sig
key 20240101 p256 nistp256 sign never
export_keys p256.pgp p256@
sign 20240601 p256 p256.sig

key 20200101 expired ed25519 sign 1y
export_keys expired.pgp expired@
sign 20200601 expired expired.sig
key 20240101 extended ed25519 sign 6m
sign 20240601 extended extended.sig
export_keys lapsed.pgp extended@
g 20240501 --quick-set-expire "$(fingerprint extended)" 10y
export_keys extended.pgp extended@
key 20240101 subexpired ed25519 cert never
g 20240101 --quick-add-key "$(fingerprint subexpired)" ed25519 sign 6m
export_keys subexpired.pgp subexpired@
sign 20240601 subexpired subexpired.sig

key 20240101 revoked ed25519 sign never
export_keys unrevoked.pgp revoked@
sign 20240601 revoked revoked.sig
# The revocation that gpg makes for every new key has a colon before its armour.
sed 's/^:---/---/' "$GNUPGHOME/openpgp-revocs.d/$(fingerprint revoked).rev" > "$out/revocation.asc"
g 20241001 --import "$out/revocation.asc"
export_keys revoked.pgp revoked@
key 20240101 retired ed25519 sign never
sign 20240601 retired retired.sig
printf 'y\n3\n\ny\n' | gpg --quiet --no-tty --command-fd 0 --pinentry-mode loopback --passphrase '' \
    --faked-system-time 20241001T120000 --output "$GNUPGHOME/retired.rev" --gen-revoke retired@
g 20241001 --import "$GNUPGHOME/retired.rev"
export_keys retired.pgp retired@
key 20240101 subrevoked ed25519 cert never
g 20240101 --quick-add-key "$(fingerprint subrevoked)" ed25519 sign never
sign 20240601 subrevoked subrevoked.sig
printf 'key 1\nrevkey\ny\n0\n\ny\nsave\n' | gpg --quiet --no-tty --command-fd 0 --pinentry-mode loopback \
    --passphrase '' --faked-system-time 20241001T120000 --edit-key subrevoked@
export_keys subrevoked.pgp subrevoked@

# A key that signed, and was then limited to certifying.
key 20240101 certifier ed25519 sign never
sign 20240601 certifier certifier.sig
printf 'change-usage\ns\nq\nsave\n' | gpg --quiet --no-tty --command-fd 0 --pinentry-mode loopback \
    --passphrase '' --faked-system-time 20241001T120000 --edit-key certifier@
export_keys certifier.pgp certifier@

# A key that another one, allowed to, revoked.
key 20240101 ward ed25519 sign never
sign 20240601 ward ward.sig
printf 'addrevoker\n%s\ny\nsave\n' "$(fingerprint rsa)" | gpg --quiet --no-tty --command-fd 0 \
    --pinentry-mode loopback --passphrase '' --faked-system-time 20240201T120000 --edit-key ward@
export_keys guarded.pgp ward@ rsa@
printf 'y\n0\n\ny\n' | gpg --quiet --no-tty --command-fd 0 --pinentry-mode loopback --passphrase '' \
    --faked-system-time 20241001T120000 --output "$GNUPGHOME/ward.rev" --desig-revoke ward@
g 20241001 --import "$GNUPGHOME/ward.rev"
export_keys ward.pgp ward@ rsa@
