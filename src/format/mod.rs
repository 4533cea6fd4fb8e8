//! Foreign formats as pure codecs: bytes in, values out.

pub mod casync;
pub mod checksums;
pub mod elf;
