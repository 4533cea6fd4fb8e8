//! Bytes over the network, once: bounded, resumable, hashed while they stream.
//!
//! [`Client`] is the one HTTP client. [`Reader`] reads documents (listings, checksum files) and
//! remembers them; [`download`] brings an artifact into the content-addressed cache. Nothing here
//! interprets bytes.

pub mod client;
pub mod error;
pub mod retry;
pub mod hosts;
pub mod post;
pub mod probe;
pub mod record;
pub mod memory;
pub mod hash;
pub mod own;
mod partial;
mod packed;
pub mod blob;
pub mod piece;

pub use blob::{BlobRequest, NoProgress, Progress, download};
pub use client::{Client, Credentials, Settings};
pub use error::FetchError;
pub use hosts::Answers;
pub use memory::{Document, From, Reader};
pub use piece::{Line, piece, piece_by, piece_of};
pub use record::{Remembered, store};
pub use retry::Backoff;
