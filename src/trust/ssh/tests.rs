//! Signatures made by OpenSSH 9.2 over `the message`, and what must not be accepted in their place.

use jiff::Timestamp;

use super::{AllowedSigners, SshSignatureError, verify};

/// What `ssh-keygen -Y sign -n git` was given.
const MESSAGE: &[u8] = b"the message\n";

/// Type, key and signature, by `ssh-keygen -t ed25519`, `-t ecdsa -b 256|384|521` and `-t rsa -b 2048`.
const SIGNED: [(&str, &str, &str); 5] = [
    (
        "ssh-ed25519",
        "AAAAC3NzaC1lZDI1NTE5AAAAIM2Gh+KWbiLTWZZS92yKHzIKieqOe6+Au4tN+rNbfO7z",
        "U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgzYaH4pZuItNZllL3bIofMgqJ6o57r4C7i036s1t87vMAAAADZ2l0\
         AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5AAAAQMlZ+lswRRmjNN2UZLDtK2wZ2GM+pb6huLN1cvGA8HkNBBYZ\
         iH+K/lJs1LYmipi67C5i6m58d6qCBFbxItUpkQ8=",
    ),
    (
        "ecdsa-sha2-nistp256",
        "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA6j2ioQwY0f65ymdKUiH1wsqA92sKrp++0jruU+fVW2\
         b+hCZr/hu36M0X+ox6Dfmp2rUdL/Dv9o6GOyOlkUrQQ=",
        "U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAEEEDqPaKhDBjR/rnKZ0pSIfXCyo\
         D3awqun77SOu5T59VbZv6EJmv+G7fozRf6jHoN+anatR0v8O/2joY7I6WRStBAAAAANnaXQAAAAAAAAABnNoYTUxMgAAAGQA\
         AAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAEkAAAAgX9XmQ9k0fBhECoOf/R2z5hfpLeKqgEos+BdhVRKklkEAAAAhAPqFfejc\
         pinUUQsGXiwsqu3sX6zIhgkXOCn/jgSrLt5w",
    ),
    (
        "ecdsa-sha2-nistp384",
        "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBMMJztdwtfuJfj7JA9s1dibjbaEub515C8zwUbhxlvXC\
         R0gnNbnCtY2cdpw3tIrUl163KOUCIB3B8B2HwnsYNnP0eRj+h1hnXxTuZMuUggrdxuE9jY3Weyj6M/h4hpZorA==",
        "U1NIU0lHAAAAAQAAAIgAAAATZWNkc2Etc2hhMi1uaXN0cDM4NAAAAAhuaXN0cDM4NAAAAGEEwwnO13C1+4l+PskD2zV2JuNt\
         oS5vnXkLzPBRuHGW9cJHSCc1ucK1jZx2nDe0itSXXrco5QIgHcHwHYfCexg2c/R5GP6HWGdfFO5ky5SCCt3G4T2NjdZ7KPoz\
         +HiGlmisAAAAA2dpdAAAAAAAAAAGc2hhNTEyAAAAgwAAABNlY2RzYS1zaGEyLW5pc3RwMzg0AAAAaAAAADB0NbAD5zjC3S4J\
         dz2XgO6wIyEZCak09SOSmCftQHGZJHLSFTbRT1wF+HYrsn9CFioAAAAwWe0tHpL3gdBmZsaImeSZCHVLBVKItFZcvjbkobcV\
         31KbdH0iMExVuqJkWjwyg6By",
    ),
    (
        "ecdsa-sha2-nistp521",
        "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAEapWN5uDQObMjDzK8GjIEdGr9iWiEEQ9ZUqE6SKC10\
         IzBvuWRp8bz751ODesaaD9nkWWWVagu9FvcYXlonJD3gEgDUZWST86U8megLXylobKfBqJL1eGQlNP0xROMW0gRznmSXcujb\
         arIFiTIa5zWO1T2gvWfTpCU9U1sPAjqCIZV9Ag==",
        "U1NIU0lHAAAAAQAAAKwAAAATZWNkc2Etc2hhMi1uaXN0cDUyMQAAAAhuaXN0cDUyMQAAAIUEARqlY3m4NA5syMPMrwaMgR0a\
         v2JaIQRD1lSoTpIoLXQjMG+5ZGnxvPvnU4N6xpoP2eRZZZVqC70W9xheWickPeASANRlZJPzpTyZ6AtfKWhsp8GokvV4ZCU0\
         /TFE4xbSBHOeZJdy6NtqsgWJMhrnNY7VPaC9Z9OkJT1TWw8COoIhlX0CAAAAA2dpdAAAAAAAAAAGc2hhNTEyAAAApQAAABNl\
         Y2RzYS1zaGEyLW5pc3RwNTIxAAAAigAAAEEaaWCvKyem1v4qJ3eFkucm55AD5EdsSp7QajuHWYTiW0wLb74gnn1wEO5hnKor\
         37Vpv+1h8bquvg/J5ufcniLFqgAAAEE1rpw6bWqSugcqN4sflF2tnVDy7K17sKOHpweIVk/4y3bYmXVeaiCUXLKNhM3J2Utn\
         9gszNITA/0OCLeTTpdfIzg==",
    ),
    (
        "ssh-rsa",
        "AAAAB3NzaC1yc2EAAAADAQABAAABAQDrLtrTaT5cXYp4pHlsETyjAwCDqKq1mYgw4txQS9NfIYXaud8/9GpaUiL4HZPee67M\
         oOCmzljpryZkRWxxpb3OHKXEN37L1igzXu6GUFV5pTt9rtSzG/f5RZYJVPEC4+9N0k3Ku53IcRs4U5BtbUX1QvSBsB5EGXzN\
         wd7ytl6rtIwzHNgcclD1Juemh8cdhQvls8WUe4r5gq+JJIleqliRvE2fkrCssOjVwA4VXShNQ+JoFx6iUel1ZwPVkXXIsM07\
         IClyOVFjivc37eGYvnzPott8tnmgHrCW1Owg4FGGlONmnC8NjKG1rMpU7EpBwE+4U40pTgvIb6up0jkbIuen",
        "U1NIU0lHAAAAAQAAARcAAAAHc3NoLXJzYQAAAAMBAAEAAAEBAOsu2tNpPlxdinikeWwRPKMDAIOoqrWZiDDi3FBL018hhdq5\
         3z/0alpSIvgdk957rsyg4KbOWOmvJmRFbHGlvc4cpcQ3fsvWKDNe7oZQVXmlO32u1LMb9/lFlglU8QLj703STcq7nchxGzhT\
         kG1tRfVC9IGwHkQZfM3B3vK2Xqu0jDMc2BxyUPUm56aHxx2FC+WzxZR7ivmCr4kkiV6qWJG8TZ+SsKyw6NXADhVdKE1D4mgX\
         HqJR6XVnA9WRdciwzTsgKXI5UWOK9zft4Zi+fM+i23y2eaAesJbU7CDgUYaU42acLw2MobWsylTsSkHAT7hTjSlOC8hvq6nS\
         ORsi56cAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAAEUAAAADHJzYS1zaGEyLTUxMgAAAQDX+k5YfmCzbNU7/kL91EF38NUek2s+\
         pFnC5JMhaxiQ2myENotPX9PUB/O/sn9Zo+eFhoxbt/NAX5xLCpUVb1WjP1r8e6GFYuOtJ1fPiy6X6UNgEc+1yKE+fwGCV2d/\
         juJmOKYuv9fFa7cIDVjq3/XOcLKBTfTSiiFfA5CFVMkmpO3549W2DOjhpnQR7xJbHqE9Cl4BUW8IGHfm+iXwe3W7OZ236V86\
         GXY3gzW75vD1x/gRNxJJNId1MxRVriJ8xaV6fn7aO9m7oTd8WohH+eQ6jSmnBChLGul7zzD+kitfjSqrYXsLJePiUekjbWyA\
         v41Tpo8hauMOSW24J+JwajPN",
    ),
];

fn armoured(base64: &str) -> String {
    format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn allowed(line: &str) -> AllowedSigners {
    AllowedSigners::parse(line).unwrap()
}

#[test]
fn signatures_of_openssh_are_accepted() {
    for (kind, key, signature) in SIGNED {
        let allowed = allowed(&format!("# comment\n\nops@example.net {kind} {key} a comment\n"));
        let signer =
            verify(MESSAGE, armoured(signature).as_bytes(), &allowed, "git", Timestamp::UNIX_EPOCH);
        let signer = signer.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(signer.principals, "ops@example.net");
        assert!(signer.fingerprint.starts_with("SHA256:"));
    }
}

#[test]
fn changed_bytes_are_refused() {
    for (kind, key, signature) in SIGNED {
        let allowed = allowed(&format!("ops {kind} {key}"));
        let error = verify(
            b"the massage\n",
            armoured(signature).as_bytes(),
            &allowed,
            "git",
            at("2026-01-01T00:00:00Z"),
        );
        assert!(matches!(error, Err(SshSignatureError::Altered)), "{kind}: {error:?}");
        let mut raw = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
        for position in 0..raw.len() {
            raw[position] ^= 1;
            let text = armoured(&data_encoding::BASE64.encode(&raw));
            let damaged =
                verify(MESSAGE, text.as_bytes(), &allowed, "git", at("2026-01-01T00:00:00Z"));
            assert!(damaged.is_err(), "{kind}: byte {position} may be anything");
            raw[position] ^= 1;
        }
    }
}

#[test]
fn signature_for_something_else_is_refused() {
    let [(kind, key, signature), ..] = SIGNED;
    let allowed = allowed(&format!("ops {kind} {key}"));
    let error = verify(
        MESSAGE,
        armoured(signature).as_bytes(),
        &allowed,
        "file",
        at("2026-01-01T00:00:00Z"),
    );
    assert!(matches!(error, Err(SshSignatureError::Namespace { .. })), "{error:?}");
}

#[test]
fn key_counts_only_where_and_when_it_is_listed() {
    let [(kind, key, signature), (other, another, _), ..] = SIGNED;
    let now = at("2026-06-01T12:00:00Z");
    let tried = |line: String| {
        verify(MESSAGE, armoured(signature).as_bytes(), &allowed(&line), "git", now)
            .map(|s| s.principals)
    };
    for (options, accepted) in [
        ("namespaces=\"git\"", true),
        ("namespaces=\"file,git\"", true),
        ("namespaces=\"file\"", false),
        ("valid-after=\"20260601\"", true),
        ("valid-after=\"202606011201Z\"", false),
        ("valid-before=\"20260601120001\"", true),
        ("valid-before=\"20260601120000Z\"", false),
        ("namespaces=\"git\",valid-after=\"20250101\",valid-before=\"20270101\"", true),
    ] {
        let result = tried(format!("\"a b\",c {options} {kind} {key}"));
        assert_eq!(result.is_ok(), accepted, "{options}: {result:?}");
    }
    let unknown = tried(format!("ops {other} {another}"));
    assert!(matches!(unknown, Err(SshSignatureError::Unknown { .. })), "{unknown:?}");
}

#[test]
fn lines_that_are_not_understood_are_refused() {
    let [(kind, key, _), (other, ..), ..] = SIGNED;
    for text in [
        String::new(),
        "# nobody\n".to_owned(),
        "ops".to_owned(),
        format!("ops {kind}"),
        format!("ops {kind} not-base64!"),
        format!("ops {other} {key}"),
        format!("ops cert-authority {kind} {key}"),
        format!("ops some-option {kind} {key}"),
        format!("ops valid-after=\"tomorrow\" {kind} {key}"),
        format!("ops valid-after=\"20261399\" {kind} {key}"),
        format!("ops namespaces=\"!git,*\" {kind} {key}"),
    ] {
        assert!(AllowedSigners::parse(&text).is_err(), "{text}");
    }
}
