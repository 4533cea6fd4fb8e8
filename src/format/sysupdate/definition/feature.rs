//! Features and components: what can be switched on and off together.

use super::super::ini::{Assignment, Place, Warning};
use super::super::specifier::Specifiers;
use super::{DefinitionError, DefinitionText, Reader};

/// One `SuggestOn…=`, as text: the grammar of `Condition…=` in unit files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The key, such as `SuggestOnArchitecture`.
    pub key: String,
    /// The value, with its `!` and `|`.
    pub value: String,
    /// Where.
    pub place: Place,
}

/// Whether something is proposed to an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestion {
    /// `Suggest=`.
    pub suggest: Option<bool>,
    /// `SuggestOn…=`; they count when `Suggest=` is not set, and all must hold.
    pub conditions: Vec<Condition>,
}

/// A feature: transfers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The file's name without `.feature`.
    pub id: String,
    /// The main file.
    pub file: String,
    /// `Description=`.
    pub description: Option<String>,
    /// `Documentation=`, web addresses.
    pub documentation: Vec<String>,
    /// `AppStream=`, a web address.
    pub app_stream: Option<String>,
    /// `Enabled=`, by default no.
    pub enabled: bool,
    /// Where the last `Enabled=` is, which counts.
    pub enabled_at: Option<Place>,
    /// The last `Enabled=` where that could not be read, so that what holds is not what was meant.
    pub unclear: Option<Warning>,
    /// `Suggest=` and `SuggestOn…=`.
    pub suggestion: Suggestion,
}

/// A component: definitions of its own, updated on their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The name between `sysupdate.` and `.component`.
    pub name: String,
    /// `Description=`.
    pub description: Option<String>,
    /// `Documentation=`, web addresses.
    pub documentation: Vec<String>,
    /// `Enabled=`, by default yes.
    pub enabled: bool,
    /// The last `Enabled=` where that could not be read, so that what holds is not what was meant.
    pub unclear: Option<Warning>,
    /// `Suggest=` and `SuggestOn…=`.
    pub suggestion: Suggestion,
}

/// The endings of the `SuggestOn…=` keys.
const CONDITIONS: [&str; 11] = [
    "Architecture",
    "Firmware",
    "Virtualization",
    "Host",
    "Fraction",
    "KernelCommandLine",
    "Version",
    "Credential",
    "Security",
    "OSRelease",
    "MachineTag",
];

#[derive(Default)]
struct Draft {
    description: Option<String>,
    documentation: Vec<String>,
    app_stream: Option<String>,
    enabled: Option<bool>,
    enabled_at: Option<Place>,
    unclear: Option<Warning>,
    suggestion: Suggestion,
}

/// Reads a feature from its file and its drop-ins, in their order.
pub fn feature(
    id: &str,
    main: &DefinitionText,
    drop_ins: &[DefinitionText],
    specifiers: &Specifiers,
) -> Result<(Feature, Vec<Warning>), DefinitionError> {
    let (draft, warnings) = read("Feature", main, drop_ins, specifiers)?;
    let feature = Feature {
        id: id.to_owned(),
        file: main.path.clone(),
        description: draft.description,
        documentation: draft.documentation,
        app_stream: draft.app_stream,
        enabled: draft.enabled.unwrap_or(false),
        enabled_at: draft.enabled_at,
        unclear: draft.unclear,
        suggestion: draft.suggestion,
    };
    Ok((feature, warnings))
}

/// Reads a component from its files: none, or a main file and drop-ins, or drop-ins alone.
pub fn component(
    name: &str,
    texts: &[DefinitionText],
    specifiers: &Specifiers,
) -> Result<(Component, Vec<Warning>), DefinitionError> {
    let (draft, warnings) = match texts {
        [] => (Draft::default(), Vec::new()),
        [main, drop_ins @ ..] => read("Component", main, drop_ins, specifiers)?,
    };
    let component = Component {
        name: name.to_owned(),
        description: draft.description,
        documentation: draft.documentation,
        enabled: draft.enabled.unwrap_or(true),
        unclear: draft.unclear,
        suggestion: draft.suggestion,
    };
    Ok((component, warnings))
}

fn read(
    section: &str,
    main: &DefinitionText,
    drop_ins: &[DefinitionText],
    specifiers: &Specifiers,
) -> Result<(Draft, Vec<Warning>), DefinitionError> {
    let mut reader = Reader { specifiers, warnings: Vec::new() };
    let mut draft = Draft::default();
    for at in reader.assignments(main, drop_ins, &[section])? {
        draft.take(&mut reader, &at)?;
    }
    Ok((draft, reader.warnings))
}

impl Draft {
    fn take(&mut self, reader: &mut Reader<'_>, at: &Assignment) -> Result<(), DefinitionError> {
        let text = || (!at.value.is_empty()).then(|| at.value.clone());
        match at.key.as_str() {
            "Description" => self.description = text(),
            "Documentation" => reader.add_url(at, &mut self.documentation)?,
            "AppStream" if at.section == "Feature" => {
                if at.value.is_empty() {
                    self.app_stream = None;
                } else if let Some(url) = reader.url(at)? {
                    self.app_stream = Some(url);
                }
            }
            "Enabled" => {
                let before = reader.warnings.len();
                reader.set_boolean(at, &mut self.enabled);
                self.enabled_at = Some(at.place.clone());
                self.unclear = reader.warnings.get(before).cloned();
            }
            "Suggest" => reader.set_tristate(at, &mut self.suggestion.suggest),
            key if is_condition(key) => self.condition(reader, at),
            _ => reader.unknown(at),
        }
        Ok(())
    }

    fn condition(&mut self, reader: &mut Reader<'_>, at: &Assignment) {
        // As with `Condition…=`, an empty value forgets all of them.
        if at.value.is_empty() {
            self.suggestion.conditions.clear();
            return;
        }
        let condition =
            Condition { key: at.key.clone(), value: at.value.clone(), place: at.place.clone() };
        reader.push(at, &mut self.suggestion.conditions, condition);
    }
}

fn is_condition(key: &str) -> bool {
    key.strip_prefix("SuggestOn").is_some_and(|ending| CONDITIONS.contains(&ending))
}
