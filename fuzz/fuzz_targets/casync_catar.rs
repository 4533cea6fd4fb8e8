//! Archives of casync: no name leads out of its directory, and payloads lie within the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::casync::catar::{Content, Decoder, Event};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new(bytes);
    let mut ends = 0;
    while let Ok(Some(event)) = decoder.next_event() {
        let Event::Node(node) = event else { continue };
        assert!(!node.name.contains(&b'/') && !matches!(node.name.as_slice(), b"." | b".."));
        if let Content::File { size, offset } = node.content {
            assert!(offset >= ends);
            ends = offset.saturating_add(size);
        }
    }
});
