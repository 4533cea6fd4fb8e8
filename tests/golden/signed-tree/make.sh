#!/bin/sh
# Makes the files of this directory anew, with other keys: `sh make.sh` here. Needs casync 2 and gpg 2.2 or later.
set -eu
umask 022
cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
TREE=$(mktemp -d)
chmod 755 "$TREE"
export GNUPGHOME
trap 'gpgconf --kill gpg-agent; rm -rf "$GNUPGHOME" "$TREE"' EXIT
g() {
    time=$1
    shift
    gpg --quiet --batch --yes --no-tty --pinentry-mode loopback --passphrase '' --trust-model always \
        --faked-system-time "$time" "$@"
}
for who in ours theirs; do
    g 20250101T110000 --quick-generate-key "$who <$who@example.net>" ed25519 sign never
    g 20250101T110000 --output "$who.pgp" --export "$who@"
done
sign() {
    g "$1" --local-user "$2@" --output "$3" --detach-sign site.caidx
}
rm -rf site.castr
for version in 1 2; do
    mkdir -p "$version" "$TREE/conf.d"
    echo "release $version" > "$TREE/conf.d/main"
    seq "$version" 500 > "$TREE/data"
    find "$TREE" -exec touch -d "2025-01-0$version 10:00Z" {} +
    # No owners: whoever runs the tests may install it.
    casync make --without=privileged --without=user-names --with=permissions --store=site.castr "$version/site.caidx" "$TREE" > /dev/null
    (
        cd "$version"
        sign "2025010${version}T120000" ours ours.sig
        sign "2025010${version}T120000" theirs theirs.sig
        gpg --quiet --batch --yes --enarmor < ours.sig | sed 's/ARMORED FILE/SIGNATURE/; /^Comment/d' > ours.asc
        # The same index, signed once more when both were published.
        sign 20250103T120000 ours later.sig
    )
done
