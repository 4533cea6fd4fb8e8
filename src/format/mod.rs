//! Foreign formats as pure codecs: bytes in, values out.

pub mod bsdiff;
pub mod choria;
pub mod casync;
pub mod deltas;
pub mod detached;
pub mod checksums;
pub mod elf;
pub mod sysupdate;
pub mod go;
pub mod packed;
pub mod selfupdate;
pub mod zstd_delta;
pub mod extension_release;
pub mod image;
pub mod os_release;
pub mod sysext;
pub mod sshsig;
