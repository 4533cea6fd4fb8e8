//! Foreign formats as pure codecs.

pub mod elf;
