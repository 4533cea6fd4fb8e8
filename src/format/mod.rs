//! Foreign formats as pure codecs: bytes in, values out.

pub mod checksums;
pub mod elf;
pub mod extension_release;
pub mod image;
pub mod os_release;
pub mod sysext;
pub mod sysupdate;
