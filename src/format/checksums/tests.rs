//! Golden outputs of real tools, the forms publishers use, and arbitrary bytes.

use proptest::prelude::*;

use super::*;

const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
const OTHER: &str = "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa";
const TOOL: &str = "tool-1.0-linux-amd64.tar.gz";

fn sha256(hex: &str) -> Digest {
    Digest::from_hex(Algorithm::Sha256, hex).unwrap()
}

fn look(file: &str, text: &str, asset: &str) -> Lookup {
    parse(file, text.as_bytes()).unwrap().lookup(asset)
}

#[track_caller]
fn finds(file: &str, text: &str) {
    assert_eq!(look(file, text, TOOL), Lookup::Found(vec![sha256(HELLO)]), "{text}");
    assert_eq!(look(file, text, "tool-1.0-linux-amd64.tar"), Lookup::NotListed, "{text}");
}

/// Outputs of coreutils 9.1, OpenSSL 3.0 and Perl's shasum for a file that holds `hello` and a line feed,
/// and for `with space (1).zip` and `a\b`.
#[test]
fn outputs_of_real_tools_are_read() {
    for text in [
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  tool-1.0-linux-amd64.tar.gz\n\
         \\2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  a\\\\b\n\
         a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa  with space (1).zip\n",
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 *tool-1.0-linux-amd64.tar.gz\n\
         \\2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 *a\\\\b\n\
         a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa *with space (1).zip\n",
        "SHA256 (tool-1.0-linux-amd64.tar.gz) = 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\n\
         \\SHA256 (a\\\\b) = 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n\
         SHA256 (with space (1).zip) = a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa\n",
    ] {
        finds("SHA256SUMS", text);
        let space = look("SHA256SUMS", text, "with space (1).zip");
        assert_eq!(space, Lookup::Found(vec![sha256(OTHER)]));
        assert!(matches!(look("SHA256SUMS", text, "a\\b"), Lookup::Found(_)), "{text}");
    }
    finds("x", &format!("SHA2-256({TOOL})= {HELLO}\n"));
    let sha384 = "1d0f284efe3edea4b9ca3bd514fa134b17eae361ccc7a1eefeff801b9bd6604e01f21f6bf249ef030599f0c218f2ba8c";
    let text = format!("{sha384} U{TOOL}\n");
    let digest = Digest::from_hex(Algorithm::Sha384, sha384).unwrap();
    assert_eq!(look("x", &text, TOOL), Lookup::Found(vec![digest]));
}

#[test]
fn forms_of_publishers_are_read() {
    let base64 = data_encoding::BASE64.encode(sha256(HELLO).as_bytes());
    let upper = HELLO.to_uppercase();
    for text in [
        format!("\u{feff}{upper}  {TOOL}\r\n"),
        format!("# checksums\n\n{HELLO} ./dist/{TOOL}"),
        format!("{HELLO}\t{TOOL}"),
        format!("{OTHER}  other.zip\nsha256:{HELLO}  {TOOL}"),
        format!("sha256-{base64} {TOOL}"),
        format!("SHA256 ({TOOL}) = {base64}"),
        format!(
            "\nAlgorithm  Hash  Path\n---------  ----  ----\nSHA256  {upper}  C:\\out\\{TOOL}\n"
        ),
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{HELLO}  {TOOL}\n\
             -----BEGIN PGP SIGNATURE-----\n\n{OTHER}  {TOOL}\n-----END PGP SIGNATURE-----\n"
        ),
        format!("{{\"{TOOL}\":\"{HELLO}\"}}"),
        format!("[{{\"filename\":\"./{TOOL}\",\"digest\":\"sha256:{HELLO}\"}}]"),
        format!("{{\"artifacts\":{{\"{TOOL}\":{{\"checksums\":{{\"sha256\":\"{HELLO}\"}}}}}}}}"),
        format!("{{\"files\":[{{\"name\":\"{TOOL}\",\"sha256\":\"{HELLO}\",\"size\":3}}]}}"),
    ] {
        finds("checksums.txt", &text);
    }
}

#[test]
fn a_lone_digest_counts_only_in_a_file_named_after_the_artifact() {
    for text in [
        format!("{HELLO}\n"),
        format!("  {HELLO}  "),
        format!("sha256:{HELLO}"),
        format!("{HELLO}  -\n"),
    ] {
        for file in [format!("{TOOL}.sha256"), "tool-1.0-linux-amd64.sha256".to_owned()] {
            assert_eq!(look(&file, &text, TOOL), Lookup::Found(vec![sha256(HELLO)]), "{file}");
        }
        assert_eq!(look("SHA256SUMS", &text, TOOL), Lookup::NotListed);
        assert_eq!(look("other.zip.sha256", &text, TOOL), Lookup::NotListed);
    }
    let two = format!("{HELLO}\n{OTHER}\n");
    assert!(matches!(
        parse(&format!("{TOOL}.sha256"), two.as_bytes()),
        Err(ChecksumError::Nothing { .. })
    ));
}

#[test]
fn names_are_compared_exactly() {
    let text =
        format!("{HELLO}  {TOOL}.sbom\n{HELLO}  x{TOOL}\n{HELLO}  {}\n", TOOL.to_uppercase());
    assert_eq!(look("SHA256SUMS", &text, TOOL), Lookup::NotListed);
}

#[test]
fn weak_digests_are_told_from_none() {
    let md5 = format!("b1946ac92492d2347c6235b4d2611184  {TOOL}\n");
    let weak = |name: &str| Lookup::OnlyWeak { functions: vec![name.to_owned()] };
    assert_eq!(look("MD5SUMS", &md5, TOOL), weak("md5"));
    assert_eq!(look("B3SUMS", &format!("{HELLO}  {TOOL}"), TOOL), weak("blake3"));
    assert_eq!(look("x", &format!("BLAKE2b-256 ({TOOL}) = {HELLO}"), TOOL), weak("blake2b-256"));
    let both = format!("{md5}{HELLO}  {TOOL}\n");
    assert_eq!(look("sums", &both, TOOL), Lookup::Found(vec![sha256(HELLO)]));
}

#[test]
fn two_different_digests_of_one_file_are_a_conflict() {
    let text = format!("{HELLO}  linux/{TOOL}\n{OTHER}  darwin/{TOOL}\n");
    let conflict = Lookup::Conflict { first: sha256(HELLO), second: sha256(OTHER) };
    assert_eq!(look("SHA256SUMS", &text, TOOL), conflict);
    let twice = format!("{HELLO}  {TOOL}\n{HELLO}  ./{TOOL}\n");
    assert_eq!(look("SHA256SUMS", &twice, TOOL), Lookup::Found(vec![sha256(HELLO)]));
}

#[test]
fn errors_name_the_line() {
    let error = |text: &[u8]| parse("SUMS", text).unwrap_err();
    assert!(matches!(error(b"a\nb\n\xff"), ChecksumError::NotText { line: 3, .. }));
    assert!(matches!(error(b"\nSHA256 (x) = 12"), ChecksumError::BadDigest { line: 2, .. }));
    let long = [b"\n\n".as_slice(), &[b'a'; LINE_BYTES_MAX + 1]].concat();
    assert!(matches!(error(&long), ChecksumError::LineTooLong { line: 3, .. }));
    assert!(matches!(error(&vec![b'\n'; LINES_MAX + 1]), ChecksumError::TooManyLines { .. }));
    assert!(matches!(error(&vec![b' '; FILE_BYTES_MAX + 1]), ChecksumError::TooLarge { .. }));
    assert!(matches!(error(b"<html>\n</html>"), ChecksumError::Nothing { lines: 2, .. }));
    let manifest = parse("dist-manifest.json", b"{\"dist_version\":\"0.8\"}").unwrap();
    assert_eq!(manifest.lookup(TOOL), Lookup::NotListed);
    assert!(matches!(error(b"{"), ChecksumError::Json { .. }));
    assert!(matches!(error(&vec![b'['; 5000]), ChecksumError::Json { .. }));
    assert!(matches!(error(b""), ChecksumError::Nothing { lines: 0, .. }));
}

#[test]
fn checksum_files_are_looked_for_from_the_most_particular_on() {
    let all = [
        "tool_1.0_linux_amd64.tar.gz",
        "tool_1.0_linux_arm64.tar.gz",
        "checksums.txt.sig",
        "tool_1.0_checksums.txt",
        "tool_1.0_checksums.txt.sigstore.json",
        "tool_1.0_linux_arm64.tar.gz.sha256",
        "tool_1.0_linux_amd64_checksum.txt",
        "SHA256SUMS",
        "tool_1.0_linux_amd64.tar.gz.sha512",
        "tool_1.0_linux_amd64.tar.gz.sha256",
        "tool_1.0_linux_arm64_checksums.txt",
        "dist-manifest.json",
        "README.md",
    ];
    assert_eq!(
        candidates("tool_1.0_linux_amd64.tar.gz", &all),
        [
            "tool_1.0_linux_amd64.tar.gz.sha256",
            "tool_1.0_linux_amd64.tar.gz.sha512",
            "tool_1.0_linux_amd64_checksum.txt",
            "SHA256SUMS",
            "tool_1.0_checksums.txt",
            "dist-manifest.json",
        ]
    );
    for shared in [
        "SHASUMS256.txt",
        "sha256sum-amd64.txt",
        "SHA2-256SUMS",
        "tool-1.0-SHA-256.txt",
        "tool_SHA256SUMS",
        "checksums-v5.2.0_sha512.txt",
        "SHA512-SUMS.txt",
        "checksums.sha256",
        "sha256.sum",
    ] {
        assert_eq!(candidates("tool", &["tool", shared]), [shared], "{shared}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), name in ".{0,20}",
    ) {
        if let Ok(checksums) = parse(&name, &bytes) {
            checksums.lookup("x");
        }
        candidates(&name, &[&name, "x"]);
    }

    #[test]
    fn no_text_of_the_right_letters_makes_the_parser_panic(
        text in r#"([0-9a-fSHA \\*()={}\[\]":,U^\n-]|é|sha256:|5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03){0,60}"#,
    ) {
        if let Ok(checksums) = parse("SHA256SUMS", text.as_bytes()) {
            checksums.lookup("x");
        }
    }
}
