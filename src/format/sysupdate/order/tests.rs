//! The published vectors of the order, and its laws.

use std::cmp::Ordering::{Equal, Greater, Less};

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(a: &str, b: &str, expected: Ordering) {
    assert_eq!(compare(a, b), expected, "{a:?} ? {b:?}");
    assert_eq!(compare(b, a), expected.reverse(), "{b:?} ? {a:?}");
}

#[track_caller]
fn ascending(versions: &[&str]) {
    for (i, older) in versions.iter().enumerate() {
        check(older, older, Equal);
        for newer in &versions[i + 1..] {
            check(older, newer, Less);
        }
    }
}

#[test]
fn vectors_of_the_specification_hold() {
    let pairs = [
        ("11", Equal, "11"),
        ("systemd-123", Equal, "systemd-123"),
        ("bar-123", Less, "foo-123"),
        ("123a", Greater, "123"),
        ("123.a", Greater, "123"),
        ("123.a", Less, "123.b"),
        ("123a", Greater, "123.a"),
        ("11α", Equal, "11β"),
        ("B", Less, "a"),
        ("", Less, "0"),
        ("0.", Greater, "0"),
        ("0.0", Greater, "0"),
        ("0", Greater, "~"),
        ("", Greater, "~"),
        ("1_", Equal, "1"),
        ("_1", Equal, "1"),
        ("1_", Less, "1.2"),
        ("1_2_3", Greater, "1.3.3"),
        ("1+", Equal, "1"),
        ("+1", Equal, "1"),
        ("1+", Less, "1.2"),
        ("1+2+3", Greater, "1.3.3"),
    ];
    for (a, order, b) in pairs {
        check(a, b, order);
    }
    ascending(&[
        "122.1",
        "123~rc1-1",
        "123",
        "123-a",
        "123-a.1",
        "123-1",
        "123-1.1",
        "123^post1",
        "123.a-1",
        "123.1-1",
        "123a-1",
        "124-1",
    ]);
}

#[test]
fn vectors_of_systemd_hold() {
    ascending(&[
        "~1",
        "",
        "ab",
        "abb",
        "abc",
        "0001",
        "002",
        "12",
        "122",
        "122.9",
        "123~rc1",
        "123",
        "123-a",
        "123-a.1",
        "123-a1",
        "123-a1.1",
        "123-3",
        "123-3.1",
        "123^patch1",
        "123^1",
        "123.a-1",
        "123.1-1",
        "123a-1",
        "124",
    ]);
    let pairs = [
        ("6.0.rc1", Greater, "6.0"),
        ("10b2", Greater, "10a1"),
        ("10xyz", Greater, "10.1xyz"),
        ("2.0", Less, "2_0"),
        ("1.0~rc1~git123", Less, "1.0~rc1"),
        ("1.0^git1~pre", Less, "1.0^git1"),
        ("1.0~rc1^git1", Greater, "1.0~rc1"),
        ("1.0^20160101", Less, "1.0.1"),
        ("1.0^20160102", Greater, "1.0^20160101^git1"),
        ("1.0^git1", Less, "1.01"),
        ("12_3", Less, "123"),
        ("12_3", Greater, "12.3"),
        ("123..0", Less, "123.0"),
        ("0_", Equal, "0"),
        ("1b.fc17", Greater, "1.fc17"),
        ("1.1.αα", Equal, "1.1.β"),
        ("10.0001", Equal, "10.1"),
        ("0", Greater, "a"),
        ("v1", Less, "1"),
    ];
    for (a, order, b) in pairs {
        check(a, b, order);
    }
}

#[test]
fn versions_of_applications_order_as_measured() {
    let pairs = [
        ("1.2.3", Less, "1.2.3-rc1"),
        ("1.5.0-beta.1", Greater, "1.5.0"),
        ("1.2.3~rc1", Less, "1.2.3"),
        ("1.32.3+k3s1", Less, "1.32.3+k3s2"),
        ("v1.29.2+k3s1", Less, "v1.29.10+k3s1"),
        ("20240101", Greater, "1.0"),
        ("1.0", Less, "1.0.0"),
        ("1.0.0+1", Greater, "1.0.0"),
        ("1+7.2-debian13-202607011055", Less, "1+7.2-debian13-202607020000"),
        ("5:29.4.2-2", Less, "5:29.4.10-1"),
        ("2024.01.05", Equal, "2024.1.5"),
        ("99999999999999999999999999", Less, "100000000000000000000000000"),
    ];
    for (a, order, b) in pairs {
        check(a, b, order);
    }
}

#[test]
fn equal_versions_have_an_exact_order() {
    assert_eq!(compare("1.0", "1.00"), Equal);
    assert_eq!(compare_exactly("1.0", "1.00"), Less);
    assert_eq!(compare_exactly("1.0", "1.0"), Equal);
}

#[test]
fn only_plain_texts_are_versions() {
    for text in [".1", "-1", "v1", "6.2.12-300.fc38.x86_64", "1~rc^2_3+4"] {
        assert!(is_version(text), "{text:?}");
    }
    for text in ["", "1 2", "1:2", "1=b", "1,b", "é", "1/2", "1\n", &"1".repeat(256)] {
        assert!(!is_version(text), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_order_is_total(
        a in "[019aAbZ.~^_+-]{0,8}",
        b in "[019aAbZ.~^_+-]{0,8}",
        c in "[019aAbZ.~^_+-]{0,8}",
    ) {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        let mut sorted = [a.as_str(), b.as_str(), c.as_str()];
        sorted.sort_by(|x, y| compare_exactly(x, y));
        prop_assert!(compare(sorted[0], sorted[1]).is_le());
        prop_assert!(compare(sorted[1], sorted[2]).is_le());
        prop_assert!(compare(sorted[0], sorted[2]).is_le());
        if compare(&a, &b).is_eq() {
            prop_assert_eq!(compare(&a, &c), compare(&b, &c));
        }
        if a != b {
            prop_assert!(compare_exactly(&a, &b).is_ne());
        }
    }

    #[test]
    fn any_text_compares(a in ".{0,40}", b in ".{0,40}") {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert!(compare(&a, &a).is_eq());
    }
}
