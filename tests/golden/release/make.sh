#!/bin/sh
# Makes the files of this directory anew, with other keys: `sh make.sh` here. Needs gpg 2.2 or later.
set -eu
cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill gpg-agent; rm -rf "$GNUPGHOME"' EXIT
g() {
    gpg --quiet --batch --yes --no-tty --pinentry-mode loopback --passphrase '' --trust-model always \
        --faked-system-time 20250101T120000 "$@"
}
for who in ours theirs; do
    g --quick-generate-key "$who <$who@example.net>" ed25519 sign never
    g --output "$who.pgp" --export "$who@"
done
g --armor --output ours.pgp.asc --export ours@
for version in 1.0.0 1.1.0; do
    mkdir -p "$version"
    printf '#!/bin/sh\necho tool %s\n' "$version" > "$version/tool"
    (cd "$version" && sha256sum tool > SHA256SUMS)
    g --local-user ours@ --output "$version/ours.sig" --detach-sign "$version/SHA256SUMS"
    g --local-user ours@ --armor --output "$version/ours.asc" --detach-sign "$version/SHA256SUMS"
    g --local-user theirs@ --armor --output "$version/theirs.asc" --detach-sign "$version/SHA256SUMS"
done
