//! The formats of casync: index, chunk store, archive stream, and their listings.
//!
//! A tree is serialised to one stream ([`catar`]); the stream is cut where its content says
//! ([`chunker`]); each piece is stored under its digest ([`chunk`]); the list of pieces is the index
//! ([`index`]). Which properties of files the stream holds is said by [`flags`]. Beside an index its
//! publisher may leave the digest of the stream ([`cks`]), a listing ([`mtree`]), and where chunks lie in
//! larger files ([`packs`]) and what makes a version of another one ([`deltas`]), which are our own.
//!
//! All numbers are little endian. Sources: systemd/casync at e6817a7 (`caformat.h`, read as a
//! specification), and streams of casync 2 and desync 1.0.4, with which the tests compare.

pub mod flags;
pub mod chunk;
pub mod chunker;
mod buzhash;
pub mod index;
pub mod catar;
pub mod mtree;
pub mod cks;
pub mod packs;
pub mod deltas;
