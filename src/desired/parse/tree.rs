//! A YAML text as a tree of nodes with byte spans: the one place that knows the YAML parser.
//!
//! YAML 1.2, one document, keys are text. Anchors and merge keys (`<<`) are resolved here. Everything is
//! bounded: nesting, and the number of nodes after aliases were replaced by what they stand for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::desired::diagnostic::{Problem, Span};
use crate::desired::parse::Problems;

/// Most nodes of a document, those that aliases stand for included: a thousand apps have about 30,000.
const NODES_MAX: usize = 250_000;

/// Deepest nesting of lists and maps: a document needs eight.
const DEPTH_MAX: usize = 32;

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) span: Span,
    pub(super) kind: Kind<'t>,
}

/// What a value is, as far as YAML itself says.
#[derive(Clone, Debug)]
pub(super) enum Kind<'t> {
    /// Nothing, `~` or `null`.
    Null,
    /// Unquoted: may be read as a number or a truth value by a type that wants one.
    Plain(Cow<'t, str>),
    /// Quoted or a block: always text.
    Text(Cow<'t, str>),
    /// A list.
    List(Vec<Node<'t>>),
    /// A map, in the order written.
    Map(Vec<Entry<'t>>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    pub(super) key_span: Span,
    pub(super) value: Node<'t>,
}

impl Node<'_> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// What it is, for people.
    pub(super) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Plain(_) | Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// How many nodes it consists of, itself included.
    fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::List(items) => items.iter().map(Node::size).sum(),
            Kind::Map(entries) => entries.iter().map(|e| 1 + e.value.size()).sum(),
            _ => 0,
        }
    }

    /// How deeply lists and maps nest in it.
    fn depth(&self) -> usize {
        match &self.kind {
            Kind::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Kind::Map(entries) => 1 + entries.iter().map(|e| e.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// The values below `auth` that are not the name of a credential or the path of a file: a token pasted
/// there by mistake must not reach a log through an error message.
pub(super) fn unnamed_credentials(root: &Node<'_>) -> Vec<Span> {
    let Kind::Map(sections) = &root.kind else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest: Vec<(&str, &Node<'_>)> =
        sections.iter().filter(|s| s.key == "auth").map(|s| ("auth", &s.value)).collect();
    while let Some((key, node)) = rest.pop() {
        match &node.kind {
            Kind::Map(entries) => rest.extend(entries.iter().map(|e| (e.key.as_ref(), &e.value))),
            Kind::List(items) => rest.extend(items.iter().map(|item| ("", item))),
            Kind::Plain(_) | Kind::Text(_) if matches!(key, "credential" | "file") => {}
            Kind::Plain(_) | Kind::Text(_) => found.push(node.span),
            Kind::Null => {}
        }
    }
    found
}

/// Reads a text. An error of syntax ends the reading; duplicate keys are reported and passed over.
pub(super) fn read<'t>(text: &'t str, problems: &Problems) -> Result<Node<'t>, Problem> {
    let options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
        emit_comments: false,
    };
    let mut builder =
        Builder { open: Vec::new(), root: None, anchors: BTreeMap::new(), nodes: 0, problems };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax_error(&error, text))?;
        let range = span.byte_range().unwrap_or_default();
        builder.take(event, Span { start: range.start, end: range.end })?;
    }
    Ok(builder.root.unwrap_or(Node { span: Span::default(), kind: Kind::Null }))
}

fn syntax_error(error: &ScanError, text: &str) -> Problem {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let line = text.get(..at).and_then(|t| t.rsplit('\n').next()).unwrap_or_default();
    let problem = Problem::new(Span { start: at, end: at + 1 }, "this is not valid YAML")
        .label(error.kind().to_string());
    let rest = text.get(at..).unwrap_or_default();
    if rest.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
        problem.help("indent with blanks: YAML forbids tabs there")
    } else {
        problem
    }
}

struct Builder<'t, 'p> {
    open: Vec<Open<'t>>,
    root: Option<Node<'t>>,
    anchors: BTreeMap<usize, Node<'t>>,
    nodes: usize,
    problems: &'p Problems,
}

/// A list or map whose end has not been seen.
struct Open<'t> {
    anchor: usize,
    start: usize,
    content: Content<'t>,
}

enum Content<'t> {
    List(Vec<Node<'t>>),
    Map { entries: Vec<Entry<'t>>, key: Option<(Cow<'t, str>, Span)> },
}

impl<'t> Builder<'t, '_> {
    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), Problem> {
        if event.tag().is_some() {
            return Err(Problem::new(span, "tags such as `!name` are not used here")
                .help("remove the tag; quote the value if it must stay text"));
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Problem::new(span, "a second document starts here")
                    .help("put it into a file of its own, or remove the `---` before it"))
            }
            Event::Scalar(text, style, anchor, _) => self.close(scalar(text, style, span), anchor),
            Event::SequenceStart(_, anchor, _) => {
                self.open(anchor, span, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                self.open(anchor, span, Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let span = Span { start: open.start, end: span.end.max(open.start) };
                let kind = match open.content {
                    Content::List(items) => Kind::List(items),
                    Content::Map { entries, .. } => Kind::Map(self.settle(entries)?),
                };
                self.close(Node { span, kind }, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Problem::new(span, "an alias cannot stand for what it is part of"));
                };
                let (size, depth) = (node.size(), node.depth());
                let node = node.clone();
                self.charge(size, span)?;
                if self.open.len() + depth > DEPTH_MAX {
                    return Err(too_deep(span));
                }
                self.close(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn charge(&mut self, nodes: usize, span: Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(Problem::new(span, format!("the document has more than {NODES_MAX} values"))
            .label("counted with what aliases stand for")
            .help("split it into several files"))
    }

    fn open(&mut self, anchor: usize, span: Span, content: Content<'t>) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(span));
        }
        if self.wants_key() {
            return Err(Problem::new(span, "a key must be text").help("quote the key"));
        }
        self.open.push(Open { anchor, start: span.start, content });
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    /// A node is complete: it goes into the list or map that is open.
    fn close(&mut self, mut node: Node<'t>, anchor: usize) -> Result<(), Problem> {
        self.charge(1, node.span)?;
        if anchor != 0 {
            self.charge(node.size(), node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key } => match key.take() {
                Some((key, key_span)) => {
                    if node.is_null() && node.span.start == node.span.end {
                        node.span = key_span;
                    }
                    entries.push(Entry { key, key_span, value: node });
                }
                None => match node.kind {
                    Kind::Plain(text) | Kind::Text(text) => *key = Some((text, node.span)),
                    _ => {
                        return Err(
                            Problem::new(node.span, "a key must be text").help("quote the key")
                        );
                    }
                },
            },
        }
        Ok(())
    }

    /// Reports duplicate keys and takes in what merge keys refer to.
    fn settle(&mut self, entries: Vec<Entry<'t>>) -> Result<Vec<Entry<'t>>, Problem> {
        if is_settled(&entries) {
            return Ok(entries);
        }
        let mut seen: BTreeMap<Cow<'t, str>, Span> = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        let mut merged = Vec::new();
        for entry in entries {
            if let Some(first) = seen.insert(entry.key.clone(), entry.key_span) {
                self.problems.push(
                    Problem::new(
                        entry.key_span,
                        format!("the key `{}` is written twice", entry.key.escape_debug()),
                    )
                    .label("again here")
                    .earlier(first, "first here")
                    .help("keep one of them"),
                );
            } else if entry.key == "<<" {
                merged.extend(merge_entries(entry.value)?);
            } else {
                kept.push(entry);
            }
        }
        let mut present: BTreeSet<Cow<'t, str>> = seen.into_keys().collect();
        kept.extend(merged.into_iter().filter(|entry| present.insert(entry.key.clone())));
        Ok(kept)
    }
}

/// Whether a map has neither duplicate nor merge keys, as nearly all have.
fn is_settled(entries: &[Entry<'_>]) -> bool {
    let mut keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_ref()).collect();
    keys.sort_unstable();
    !keys.contains(&"<<") && keys.is_sorted_by(|one, next| one < next)
}

fn merge_entries(value: Node<'_>) -> Result<Vec<Entry<'_>>, Problem> {
    let refused = |span| {
        Err(Problem::new(span, "`<<` takes a map or a list of maps")
            .help("refer to an anchored map: `<<: *name`"))
    };
    match value.kind {
        Kind::Map(entries) => Ok(entries),
        Kind::List(items) => items.into_iter().try_fold(Vec::new(), |mut all, item| {
            let Kind::Map(entries) = item.kind else { return refused(item.span) };
            all.extend(entries);
            Ok(all)
        }),
        _ => refused(value.span),
    }
}

fn too_deep(span: Span) -> Problem {
    Problem::new(span, format!("lists and maps nest deeper than {DEPTH_MAX} levels here"))
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, span: Span) -> Node<'_> {
    let kind = match (style, text.as_ref()) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Kind::Null,
        (ScalarStyle::Plain, _) => Kind::Plain(text),
        _ => Kind::Text(text),
    };
    Node { span, kind }
}
