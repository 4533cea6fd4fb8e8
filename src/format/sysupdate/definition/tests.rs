//! Definitions as people and distributions write them.

use proptest::prelude::*;

use super::*;

fn text(path: &str, text: &str) -> DefinitionText {
    DefinitionText { path: path.to_owned(), bytes: text.as_bytes().to_vec() }
}

fn host() -> Specifiers {
    Specifiers {
        architecture: "x86-64".to_owned(),
        version_id: "41".to_owned(),
        image_version: "7".to_owned(),
        ..Specifiers::default()
    }
}

fn read(main: &str, drop_ins: &[&str]) -> (Transfer, Vec<String>) {
    let drop_ins: Vec<_> = drop_ins.iter().map(|t| text("d/a.conf", t)).collect();
    let (found, warnings) = transfer("x", &text("x.transfer", main), &drop_ins, &host())
        .unwrap_or_else(|e| panic!("{e}"));
    (found, warnings.iter().map(ToString::to_string).collect())
}

fn refused(main: &str) -> String {
    transfer("x", &text("x.transfer", main), &[], &host()).unwrap_err().to_string()
}

fn patterns(patterns: &[super::super::pattern::Pattern]) -> Vec<&str> {
    patterns.iter().map(super::super::pattern::Pattern::as_str).collect()
}

const MINIMAL: &str = "[Source]\nType=url-file\nPath=https://dl.example/x/\nMatchPattern=x_@v.raw\n\
                       [Target]\nPath=/var/lib/extensions.d/\n";

#[test]
fn a_minimal_transfer_has_the_defaults() {
    let (t, warnings) = read(MINIMAL, &[]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!((t.id.as_str(), t.file.as_str(), t.verify), ("x", "x.transfer", true));
    assert_eq!(t.source.path, "https://dl.example/x/");
    assert_eq!(t.target.path, "/var/lib/extensions.d");
    assert_eq!(t.target.kind, TargetKind::RegularFile);
    assert_eq!(patterns(&t.target.patterns), ["x_@v.raw"]);
    assert_eq!((t.target.kept(INSTANCES_DEFAULT), t.target.remove_temporary), (Some(3), true));
    assert_eq!((t.target.mode, t.target.current_symlink.clone()), (None, None));
    assert_eq!(t.standing, Standing::Ours);
    assert!(t.is_enabled(&[]));
}

#[test]
fn every_key_is_read() {
    let (t, warnings) = read(
        "[Transfer]\nMinVersion=1.0\nProtectVersion=%A\nProtectVersion=2\nVerify=no\n\
         ChangeLog=https://a.example/@v\nAppStream=https://a.example/s.xml\nFeatures=f g\n\
         RequisiteFeatures=r\nX-Ours=1\n\
         [Source]\nType=url-tar\nPath=http://a.example/%w\nPathRelativeTo=root\n\
         MatchPattern=a_@v_%a.tar.xz \\\n  b_@v.tar\nMatchPattern=a_@v_%a.tar.xz c_@v\n\
         [Target]\nType=directory\nPath=/srv/a\nMatchPattern=a_@v\nMode=0750\nReadOnly=yes\n\
         TriesLeft=5\nTriesDone=1\nInstancesMax=4\nRemoveTemporary=off\nCurrentSymlink=./a//cur/\n\
         MatchPartitionType=root\nPartitionUUID=f47ac10b58cc4372a5670e02b2c3d479\n\
         PartitionFlags=0x4\nPartitionNoAuto=1\nPartitionGrowFileSystem=0\n",
        &[],
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(t.min_version.as_deref(), Some("1.0"));
    assert_eq!(t.protected_versions, ["7", "2"]);
    assert!(!t.verify);
    assert_eq!(t.change_log, ["https://a.example/@v"]);
    assert_eq!(
        (t.features, t.requisite_features),
        (vec!["f".into(), "g".into()], vec!["r".into()])
    );
    assert_eq!(t.source.kind, SourceKind::UrlTar);
    assert_eq!(t.source.path, "http://a.example/41");
    assert_eq!(patterns(&t.source.patterns), ["a_@v_x86-64.tar.xz", "b_@v.tar", "c_@v"]);
    assert_eq!((t.target.mode, t.target.read_only), (Some(0o750), Some(true)));
    assert_eq!((t.target.tries_left, t.target.tries_done), (Some(5), Some(1)));
    assert_eq!((t.target.kept(INSTANCES_DEFAULT), t.target.remove_temporary), (Some(4), false));
    assert_eq!(t.target.current_symlink.as_deref(), Some("a/cur"));
    assert_eq!(t.target.partition.flags, Some(4));
    assert_eq!(t.target.partition.no_auto, Some(true));
    assert_eq!(t.standing, Standing::Ours);
}

#[test]
fn drop_ins_win_and_empty_values_forget() {
    let main = format!(
        "[Transfer]\nMinVersion=1\nProtectVersion=1\nFeatures=f\nVerify=no\n{MINIMAL}Mode=0600\n\
         InstancesMax=5\nCurrentSymlink=x.raw\n"
    );
    let (t, _) = read(
        &main,
        &[
            "[Transfer]\nMinVersion=\nProtectVersion=\nProtectVersion=9\nFeatures=\nVerify=\n",
            "[Target]\nInstancesMax=\nCurrentSymlink=\nMode=\n[Source]\nMatchPattern=\nMatchPattern=y_@v",
        ],
    );
    assert_eq!((t.min_version, t.protected_versions), (None, vec!["9".to_owned()]));
    assert_eq!((t.features.len(), t.verify), (0, true));
    assert_eq!((t.target.kept(INSTANCES_DEFAULT), t.target.current_symlink), (Some(3), None));
    assert_eq!(t.target.mode, Some(0o600), "a mode has no empty value");
    assert_eq!(patterns(&t.source.patterns), ["y_@v"]);
}

#[test]
fn instances_are_limited_in_either_section() {
    let limit = |transfer: &str, target: &str| {
        let (t, warnings) = read(&format!("[Transfer]\n{transfer}\n{MINIMAL}{target}\n"), &[]);
        (t.target.kept(INSTANCES_DEFAULT), warnings.len())
    };
    assert_eq!(limit("InstancesMax=2", ""), (Some(2), 1));
    assert_eq!(limit("InstancesMax=2", "InstancesMax=5"), (Some(5), 1));
    assert_eq!(limit("", "InstancesMax=1"), (Some(2), 1));
    assert_eq!(limit("", "InstancesMax=0"), (Some(2), 1));
    assert_eq!(limit("", "InstancesMax="), (Some(3), 0));
    assert_eq!(limit("", "InstancesMax=many"), (Some(3), 1));
}

#[test]
fn bad_values_are_ignored_with_a_warning() {
    let main = format!(
        "[Transfer]\nVerify=maybe\nMinVersion=a b\nChangeLog=ftp://x\nOdd=1\n{MINIMAL}Mode=9\n\
         ReadOnly=x\nTriesLeft=-1\nCurrentSymlink=../x\nPathRelativeTo=moon\nType=floppy\n"
    );
    let (t, warnings) = read(&main, &[]);
    assert!(t.verify && t.min_version.is_none() && t.standing == Standing::Ours);
    assert_eq!(
        warnings,
        [
            "x.transfer:2: Failed to parse Verify=maybe, ignoring.",
            "x.transfer:3: MinVersion= string is not valid, ignoring: a b",
            "x.transfer:4: ChangeLog= URL is not valid, ignoring: ftp://x",
            "x.transfer:5: Unknown key 'Odd' in section [Transfer], ignoring.",
            "x.transfer:12: Failed to parse Mode=9, ignoring.",
            "x.transfer:13: Failed to parse ReadOnly=x, ignoring.",
            "x.transfer:14: Failed to parse TriesLeft=-1, ignoring.",
            "x.transfer:15: Failed to parse CurrentSymlink=../x, ignoring.",
            "x.transfer:16: Failed to parse PathRelativeTo=moon, ignoring.",
            "x.transfer:17: Failed to parse Type=floppy, ignoring.",
        ]
    );
}

#[test]
fn what_does_not_make_a_transfer_is_refused() {
    let cases = [
        ("", "reading the definition x.transfer: `Type=` of [Source] is missing"),
        ("[Source]\nType=partition\n", "`Type=` of [Source] is missing or not one of"),
        ("[Source]\nType=url-file\n", "[Source] lacks `Path=`"),
        ("[Source]\nType=url-file\nPath=/x\n", "is not a valid HTTP or HTTPS URL"),
        ("[Source]\nType=tar\nPath=/a/../b\n", "is not a normalized, absolute path"),
        ("[Source]\nType=tar\nPath=/a\n", "[Source] lacks `MatchPattern=`"),
        ("[Source]\nType=tar\nPath=/a\nMatchPattern=a@v\n", "[Target] lacks `Path=`"),
        ("[Source]\nType=directory\nPath=/a\nMatchPattern=**/a@v\n", "remove it"),
        ("[Source]\nType=tar\nPath=/a\nMatchPattern=a@v\n[Target]\nPath=b", "`Path=b` of [Target]"),
        (
            "[Source]\nType=tar\nPath=/a\nMatchPattern=a@v\n[Target]\nPath=/b\nType=regular-file",
            "do not suit each other",
        ),
        (
            "[Source]\nMatchPattern=a\n",
            "x.transfer:2: the pattern `a` of `MatchPattern=` is refused",
        ),
        ("[Source]\nPath=%z\n", "x.transfer:2: the value of `Path=` cannot be expanded"),
        ("[Source\n", "invalid section header"),
    ];
    for (main, part) in cases {
        let error = refused(main);
        assert!(error.contains(part), "{main:?}: {error}");
    }
}

#[test]
fn what_is_not_ours_says_why() {
    let why = |source: &str, target: &str| {
        let main = format!("[Source]\n{source}\nMatchPattern=a_@v\n[Target]\n{target}\n");
        match read(&main, &[]).0.standing {
            Standing::Ours => String::new(),
            Standing::NotOurs { why } => why.join("; "),
        }
    };
    let web = "Type=url-file\nPath=https://a.example";
    assert_eq!(why(web, "Path=/srv"), "");
    assert_eq!(why(web, "Path=/dev/sda"), "[Target] Type=partition writes partitions");
    assert_eq!(
        why(web, "Path=auto\nType=partition"),
        "[Target] Path=auto means the disk that the host runs from; \
         [Target] Type=partition writes partitions"
    );
    assert!(why(web, "Path=/EFI/Linux\nPathRelativeTo=boot").contains("PathRelativeTo=boot"));
    assert!(why("Type=tar\nPath=/a\nPathRelativeTo=explicit", "Path=/b").contains("explicit"));
}

#[test]
fn definitions_of_a_distribution_are_read() {
    let (t, warnings) = read(
        "[Transfer]\nFeatures=tool\nVerify=true\n\n[Source]\nType=url-file\n\
         Path=https://dl.example/ext/tool/\nMatchPattern=tool_@v_%w_%a.raw.zst \\\n             \
         tool_@v_%w_%a.raw\n\n[Target]\nType=regular-file\nPath=/var/lib/extensions.d/\n\
         MatchPattern=tool_@v_%w_%a.raw.zst \\\n             tool_@v_%w_%a.raw\n\
         CurrentSymlink=tool.raw\n",
        &[],
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(
        patterns(&t.target.patterns),
        ["tool_@v_41_x86-64.raw.zst", "tool_@v_41_x86-64.raw"]
    );
    assert_eq!(
        (t.standing, t.target.current_symlink.as_deref()),
        (Standing::Ours, Some("tool.raw"))
    );

    let (uki, warnings) = read(
        "[Transfer]\nProtectVersion=%A\n[Source]\nType=url-file\nPath=https://dl.example/os/\n\
         MatchPattern=os_@v.efi\n[Target]\nType=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot\n\
         MatchPattern=os_@v+@l-@d.efi\nMatchPattern=os_@v+@l.efi\nMatchPattern=os_@v.efi\nMode=0444\n\
         TriesLeft=3\nTriesDone=0\nInstancesMax=2\n",
        &[],
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(uki.target.patterns.len(), 3, "repeated patterns add up");
    assert!(matches!(uki.standing, Standing::NotOurs { .. }));
}

#[test]
fn escapes_in_patterns_stand_for_characters() {
    let main = MINIMAL.replace("x_@v.raw", r"x\s\x41\102@v.raw");
    assert_eq!(patterns(&read(&main, &[]).0.source.patterns), ["x AB@v.raw"]);
    let error = refused(&MINIMAL.replace("x_@v.raw", r"x\q@v"));
    assert!(error.contains(r"`x\\q@v`"), "{error}");
}

#[test]
fn features_switch_transfers() {
    let switch = |main: &str, drop_ins: &[&str]| {
        let drop_ins: Vec<_> = drop_ins.iter().map(|t| text("d/50.conf", t)).collect();
        feature("f", &text("f.feature", main), &drop_ins, &host()).unwrap()
    };
    let (f, warnings) = switch(
        "[Feature]\nDescription=Tools\nDocumentation=https://a.example\nAppStream=https://b.example\n\
         X-Snosi-Products=1\nSuggest=no\nSuggestOnArchitecture=|!arm64\nOdd=1\n",
        &["[Feature]\nEnabled=yes\n"],
    );
    assert_eq!(warnings.len(), 1);
    assert!(f.enabled && f.description.as_deref() == Some("Tools"));
    assert_eq!(f.app_stream.as_deref(), Some("https://b.example"));
    assert_eq!(f.suggestion.suggest, Some(false));
    assert_eq!(f.suggestion.conditions[0].value, "|!arm64");
    let off = switch("[Feature]\n", &[]).0;
    assert!(!off.enabled, "a feature is off until somebody enables it");

    let with = |keys: &str| read(&format!("[Transfer]\n{keys}\n{MINIMAL}"), &[]).0;
    let both = [f.clone(), Feature { id: "g".to_owned(), ..off }];
    assert!(with("Features=g f").is_enabled(&both), "one is enough");
    assert!(!with("RequisiteFeatures=g f").is_enabled(&both), "all are needed");
    assert!(!with("Features=f\nRequisiteFeatures=g").is_enabled(&both));
    assert!(!with("Features=missing").is_enabled(&both), "a missing feature is off");
}

#[test]
fn components_are_on_until_somebody_disables_them() {
    let read = |texts: &[DefinitionText]| component("web", texts, &host()).unwrap().0;
    assert!(read(&[]).enabled);
    let main = text("sysupdate.web.component", "[Component]\nDescription=Web\nSuggest=1\n");
    let off = text("d/50.conf", "[Component]\nEnabled=no\n");
    assert!(read(std::slice::from_ref(&main)).enabled);
    let both = read(&[main, off]);
    assert_eq!((both.enabled, both.description.as_deref()), (false, Some("Web")));
}

proptest! {
    #[test]
    fn any_definition_is_read_or_refused(
        lines in proptest::collection::vec(
            "(\\[(Transfer|Source|Target)\\]|(Type|Path|MatchPattern|Mode|InstancesMax|\
             CurrentSymlink|MinVersion|PartitionUUID|PartitionFlags)=(url-file|tar|/a|auto|\
             [@v%aA\\\\x0-9é /*]{0,8})|.{0,10})",
            0..25,
        ),
    ) {
        let main = text("x", &lines.join("\n"));
        let _ = transfer("x", &main, &[], &host());
    }
}
