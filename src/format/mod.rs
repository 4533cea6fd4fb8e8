//! Foreign formats as pure codecs: bytes in, values out.

pub mod checksums;
pub mod elf;
pub mod os_release;
