//! Errors in documents: located, excerpted and rendered as compilers do.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;

use crate::desired::SourceText;

/// Most errors reported of one reading: beyond them nobody reads, and each costs time to render.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Longest excerpt, in bytes: a longer one tells nothing and takes seconds to render.
const EXCERPT_BYTES_MAX: usize = 16 << 10;

/// A byte range of a document's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// An error found in one text, before it is known where in which file that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The value or key at fault.
    pub span: Span,
    /// What is wrong, in one sentence.
    pub title: String,
    /// Written under the span; may be empty.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place of the same text that matters, with its label.
    pub earlier: Option<Box<(Span, String)>>,
}

impl Problem {
    /// A problem with a title alone.
    pub fn new(span: Span, title: impl Into<String>) -> Self {
        Self { span, title: title.into(), label: String::new(), help: None, earlier: None }
    }

    /// Says under the span what is wrong with it.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at the place it conflicts with.
    #[must_use]
    pub fn earlier(mut self, span: Span, label: impl Into<String>) -> Self {
        self.earlier = Some(Box::new((span, label.into())));
        self
    }
}

/// One error of the desired state, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnostic {
    /// The file, as named on the command line or joined to the directory named there.
    pub file: String,
    /// Line from 1; 0 when the file as a whole is at fault.
    pub line: usize,
    /// Column from 1 in characters; 0 when the file as a whole is at fault.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub title: String,
    /// What is wrong with the marked text; may be empty.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The lines at fault, the decisive ones first.
    #[serde(skip)]
    pub excerpts: Vec<Excerpt>,
}

/// Some whole lines of a file with marks on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    file: String,
    /// Line of the first character of `text`, and of the first mark.
    first_line: usize,
    /// Column of the first mark, from 1.
    column: usize,
    /// Empty when there would be too much to show.
    text: String,
    marks: Vec<Mark>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    kind: MarkKind,
    range: Range<usize>,
    label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkKind {
    Decisive,
    Context,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn about_file(file: &str, title: impl Into<String>, help: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            title: title.into(),
            label: String::new(),
            help: help.map(str::to_owned),
            excerpts: Vec::new(),
        }
    }

    /// Locates a problem in its text.
    pub fn locate(problem: Problem, source: &SourceText) -> Self {
        let (line, column) = place(&source.text, problem.span.start);
        let mut marks = vec![(MarkKind::Decisive, problem.span, problem.label.clone())];
        if let Some(earlier) = problem.earlier {
            let (span, label) = *earlier;
            marks.push((MarkKind::Context, span, label));
        }
        Self {
            file: source.file.clone(),
            line,
            column,
            title: problem.title,
            label: problem.label,
            help: problem.help,
            excerpts: Excerpt::cut(source, marks),
        }
    }

    /// Points at a place of another text as well.
    #[must_use]
    pub fn also(mut self, source: &SourceText, span: Span, label: &str) -> Self {
        let mark = (MarkKind::Context, span, label.to_owned());
        self.excerpts.extend(Excerpt::cut(source, vec![mark]));
        self
    }
}

impl Excerpt {
    /// Cuts out the lines that hold the marks and everything between them; where that is too much, the
    /// lines of each mark alone; where that is too much, nothing but the place.
    fn cut(source: &SourceText, marks: Vec<(MarkKind, Span, String)>) -> Vec<Self> {
        let text = source.text.as_str();
        let first = marks.iter().map(|(_, span, _)| line_start(text, span.start)).min();
        let last = marks.iter().map(|(_, span, _)| line_end(text, span.start)).max();
        let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
        let short = last - first <= EXCERPT_BYTES_MAX;
        if !short && marks.len() > 1 {
            return marks.into_iter().flat_map(|mark| Self::cut(source, vec![mark])).collect();
        }
        let at = marks.first().map_or(0, |(_, span, _)| span.start);
        let marks = marks
            .into_iter()
            .map(|(kind, span, label)| {
                let range = clip(text, span);
                Mark { kind, range: range.start - first..range.end - first, label }
            })
            .collect();
        vec![Self {
            file: source.file.clone(),
            first_line: place(text, first).0,
            column: place(text, at).1,
            text: text.get(first..last).filter(|_| short).unwrap_or_default().to_owned(),
            marks: if short { marks } else { Vec::new() },
        }]
    }

    fn element(&self) -> Element<'_> {
        if self.marks.is_empty() {
            let origin = Origin::path(&self.file).line(self.first_line);
            return origin.char_column(self.column).into();
        }
        Snippet::source(&self.text)
            .path(&self.file)
            .line_start(self.first_line)
            .annotations(self.marks.iter().map(Mark::annotation))
            .into()
    }
}

impl Mark {
    fn annotation(&self) -> Annotation<'_> {
        let kind = match self.kind {
            MarkKind::Decisive => AnnotationKind::Primary,
            MarkKind::Context => AnnotationKind::Context,
        };
        let annotation = kind.span(self.range.clone());
        if self.label.is_empty() { annotation } else { annotation.label(&self.label) }
    }
}

/// The part of `span` on its first line, without trailing blanks; at least one character wide where
/// the line has one.
fn clip(text: &str, span: Span) -> Range<usize> {
    let line_end = line_end(text, span.start);
    let start = floor(text, span.start.min(line_end));
    let end = floor(text, span.end.clamp(start, line_end));
    let kept = text.get(start..end).unwrap_or_default().trim_end().len();
    if kept > 0 {
        return start..start + kept;
    }
    let one = text.get(start..line_end).and_then(|rest| rest.chars().next());
    start..start + one.map_or(0, char::len_utf8)
}

/// The same text with asterisks in place of secrets; every other byte stays where it is.
pub(super) fn blot(text: &str, secrets: &[Span]) -> String {
    let secret = |at: usize| secrets.iter().any(|s| (s.start..s.end).contains(&at));
    text.char_indices()
        .map(|(at, c)| match c {
            _ if !c.is_whitespace() && secret(at) => "*".repeat(c.len_utf8()),
            _ => c.to_string(),
        })
        .collect()
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..floor(text, at)).and_then(|before| before.rfind('\n')).map_or(0, |i| i + 1)
}

/// Where the line that holds `at` ends, its `\r` and `\n` excluded.
fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(floor(text, at)..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    floor(text, at) + line.strip_suffix('\r').unwrap_or(line).len()
}

/// Line and column, both from 1, the column in characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..floor(text, at)).unwrap_or_default();
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}

/// Whether the output may hold escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Text alone.
    Plain,
    /// ANSI colours.
    Coloured,
}

/// All errors as text, in the order given, an empty line between them.
pub fn render(diagnostics: &[Diagnostic], paint: Paint) -> String {
    let renderer = match paint {
        Paint::Plain => Renderer::plain(),
        Paint::Coloured => Renderer::styled(),
    };
    let mut out = String::new();
    for diagnostic in diagnostics {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&render_one(diagnostic, &renderer));
        out.push('\n');
    }
    out
}

fn render_one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let title = Level::ERROR.primary_title(&diagnostic.title);
    let mut group = title.elements(diagnostic.excerpts.iter().map(Excerpt::element));
    if diagnostic.excerpts.is_empty() && !diagnostic.file.is_empty() {
        group = group.element(Origin::path(&diagnostic.file));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    renderer.render(&[group])
}
