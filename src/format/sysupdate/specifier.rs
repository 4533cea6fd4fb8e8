//! Specifiers: `%` and a letter in a definition, for facts of the host.
//!
//! Source: sysupdate.d(5), "Specifiers". A fact that is not set expands to nothing. `%%` is one
//! `%`; a `%` before anything but a letter (as in `a%20b`) and one at the very end stay as they
//! are, as in systemd. A letter without a meaning is an error here on purpose: systemd keeps `%z`
//! as text, which never names what its writer meant.

/// Longest expanded value, in bytes: Linux limits paths to that.
pub const EXPANDED_BYTES_MAX: usize = 4096;

/// The facts that specifiers stand for; empty when the host does not set one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specifiers {
    /// `%a`: the architecture in systemd's words, such as `x86-64`.
    pub architecture: String,
    /// `%A`: `IMAGE_VERSION=` of os-release.
    pub image_version: String,
    /// `%b`: the boot's id, 32 hex digits.
    pub boot_id: String,
    /// `%B`: `BUILD_ID=`.
    pub build_id: String,
    /// `%H`: the host name.
    pub host_name: String,
    /// `%l`: the host name up to its first dot.
    pub short_host_name: String,
    /// `%q`: `PRETTY_HOSTNAME=` of machine-info.
    pub pretty_host_name: String,
    /// `%m`: the machine's id, 32 hex digits.
    pub machine_id: String,
    /// `%M`: `IMAGE_ID=`.
    pub image_id: String,
    /// `%o`: `ID=`.
    pub os_id: String,
    /// `%v`: the kernel's release.
    pub kernel_release: String,
    /// `%w`: `VERSION_ID=`.
    pub version_id: String,
    /// `%W`: `VARIANT_ID=`.
    pub variant_id: String,
    /// `%T`: the directory of temporary files.
    pub temporary: String,
    /// `%V`: the directory of temporary files that outlive a boot.
    pub persistent_temporary: String,
}

impl Default for Specifiers {
    fn default() -> Self {
        let unset = String::new;
        Self {
            architecture: unset(),
            image_version: unset(),
            boot_id: unset(),
            build_id: unset(),
            host_name: unset(),
            short_host_name: unset(),
            pretty_host_name: unset(),
            machine_id: unset(),
            image_id: unset(),
            os_id: unset(),
            kernel_release: unset(),
            version_id: unset(),
            variant_id: unset(),
            temporary: "/tmp".to_owned(),
            persistent_temporary: "/var/tmp".to_owned(),
        }
    }
}

/// Why a value was not expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecifierError {
    /// A letter without a meaning.
    #[error(
        "expanding `{value}`: `%{letter}` at byte {offset} is not a specifier; write `%%` for a \
         percent sign"
    )]
    Unknown {
        /// The value.
        value: String,
        /// The letter.
        letter: char,
        /// Where the `%` is, in bytes from the start of the value.
        offset: usize,
    },
    /// Longer than [`EXPANDED_BYTES_MAX`].
    #[error(
        "expanding `{value}`: the result is longer than {EXPANDED_BYTES_MAX} bytes; shorten it"
    )]
    TooLong {
        /// The value.
        value: String,
    },
}

impl Specifiers {
    fn fact(&self, letter: char) -> Option<&str> {
        Some(match letter {
            'a' => &self.architecture,
            'A' => &self.image_version,
            'b' => &self.boot_id,
            'B' => &self.build_id,
            'H' => &self.host_name,
            'l' => &self.short_host_name,
            'q' => &self.pretty_host_name,
            'm' => &self.machine_id,
            'M' => &self.image_id,
            'o' => &self.os_id,
            'v' => &self.kernel_release,
            'w' => &self.version_id,
            'W' => &self.variant_id,
            'T' => &self.temporary,
            'V' => &self.persistent_temporary,
            _ => return None,
        })
    }

    /// Replaces the specifiers of a value.
    pub fn expand(&self, value: &str) -> Result<String, SpecifierError> {
        let mut expanded = String::with_capacity(value.len());
        let mut characters = value.char_indices();
        while let Some((offset, c)) = characters.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            match characters.next() {
                None | Some((_, '%')) => expanded.push('%'),
                Some((_, letter)) => match self.fact(letter) {
                    Some(fact) => expanded.push_str(fact),
                    None if letter.is_ascii_alphabetic() => {
                        let value = value.to_owned();
                        return Err(SpecifierError::Unknown { value, letter, offset });
                    }
                    None => expanded.extend(['%', letter]),
                },
            }
            if expanded.len() > EXPANDED_BYTES_MAX {
                break;
            }
        }
        if expanded.len() > EXPANDED_BYTES_MAX {
            return Err(SpecifierError::TooLong { value: value.chars().take(80).collect() });
        }
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host() -> Specifiers {
        Specifiers {
            architecture: "x86-64".to_owned(),
            version_id: "41".to_owned(),
            image_version: "7~rc1".to_owned(),
            ..Specifiers::default()
        }
    }

    #[test]
    fn letters_stand_for_facts() {
        let cases = [
            ("docker-@v-%a.raw", "docker-@v-x86-64.raw"),
            ("n-@v-%w-%a.raw", "n-@v-41-x86-64.raw"),
            ("%A", "7~rc1"),
            ("<%W%b>", "<>"),
            ("%T/x %V", "/tmp/x /var/tmp"),
            ("100%% %%a", "100% %a"),
            ("a%20b%", "a%20b%"),
        ];
        for (value, expected) in cases {
            assert_eq!(host().expand(value).unwrap(), expected);
        }
    }

    #[test]
    fn a_letter_without_a_meaning_is_refused_where_it_is() {
        assert_eq!(
            host().expand("é/%z").unwrap_err().to_string(),
            "expanding `é/%z`: `%z` at byte 3 is not a specifier; write `%%` for a percent sign"
        );
    }

    #[test]
    fn expansion_is_bounded() {
        let error = host().expand(&"%a".repeat(4000)).unwrap_err();
        assert!(matches!(error, SpecifierError::TooLong { .. }));
    }

    proptest! {
        #[test]
        fn any_text_expands_or_is_refused(text in "[%a-zA-Z0-9é]{0,20}") {
            let _ = host().expand(&text);
        }
    }
}
