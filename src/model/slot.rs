//! Names of slots: what a release is called on the host.

/// The directory name for a tag: the tag itself, with `%XX` for what a file name cannot hold or would
/// hide (`cli/v1.2` is `cli%2Fv1.2`).
pub fn slot_name(tag: &str) -> String {
    let mut name = String::with_capacity(tag.len());
    for (index, c) in tag.chars().enumerate() {
        let hidden = index == 0 && c == '.';
        if hidden || matches!(c, '/' | '%' | '\0') || c.is_control() {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                name.push('%');
                name.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
            }
        } else {
            name.push(c);
        }
    }
    name
}

/// The tag for a directory name; adopted directories carry their tag unescaped.
pub fn tag_of_slot(slot: &str) -> String {
    let mut bytes = Vec::with_capacity(slot.len());
    let mut rest = slot.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| data_encoding::HEXUPPER.decode(hex).ok()?.first().copied());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or(&[]) } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| slot.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_being_directory_names() {
        for tag in ["v1.2.3", "cli/v1.2", "@biomejs/biome@2.5.0", ".hidden", "100%", "ü/ö", "a%2Fb"]
        {
            let slot = slot_name(tag);
            assert!(!slot.contains('/') && !slot.starts_with('.'), "{slot}");
            assert_eq!(tag_of_slot(&slot), tag);
        }
    }
}
