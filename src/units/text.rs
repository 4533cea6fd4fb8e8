//! Quoting for unit files, by systemd.syntax(7) and systemd.service(5).

use std::fmt::Write;

/// One argument of a command line: `%` and `$` mean themselves.
pub(super) fn argument(text: &str) -> String {
    quoted(&text.replace('%', "%%").replace('$', "$$"))
}

/// One path of a list.
pub(super) fn path(text: &str) -> String {
    quoted(&text.replace('%', "%%"))
}

/// A setting that is one path: nothing but `%` is special.
pub(super) fn single(text: &str) -> String {
    text.replace('%', "%%")
}

fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    // A lone `;` would end the command line.
    if !text.is_empty() && text != ";" && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    let _ = write!(quoted, "\\x{byte:02x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_path_is_syntax() {
        assert_eq!(argument("/opt/a"), "/opt/a");
        assert_eq!(argument("/opt/a b"), "\"/opt/a b\"");
        assert_eq!(argument("50%$x"), "50%%$$x");
        assert_eq!(argument("a\"\\\nb"), "\"a\\\"\\\\\\x0ab\"");
        assert_eq!(argument(";"), "\";\"");
        assert_eq!(path("/a$b%"), "/a$b%%");
    }
}
