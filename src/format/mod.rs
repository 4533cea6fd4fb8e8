//! Foreign formats as pure codecs: bytes in, values out.

pub mod bsdiff;
pub mod checksums;
pub mod elf;
