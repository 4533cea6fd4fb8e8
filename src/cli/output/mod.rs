//! Values as text, JSON and Markdown.

pub mod answers;
pub mod contents;
pub mod json;
pub mod markdown;
pub mod progress;
pub mod report;
pub mod table;
pub mod text;
pub mod transfers;
pub mod units;
