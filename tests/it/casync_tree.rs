//! Streams taken apart into nodes, and put together again.

use reconcile::format::casync::catar::{Content, Decoder, Encoder, Event, Node};
use reconcile::format::casync::flags::Flags;

/// One node of a decoded stream with its path and the bytes of a file.
pub type Decoded = (Vec<u8>, Node, Vec<u8>);

/// All nodes of a stream, and whether every table is searchable.
pub fn decode(
    stream: &[u8],
) -> Result<(Vec<Decoded>, bool), reconcile::format::casync::catar::CatarError> {
    let mut decoder = Decoder::new(stream);
    let (mut nodes, mut path, mut all_searchable) = (Vec::new(), Vec::<Vec<u8>>::new(), true);
    while let Some(event) = decoder.next_event()? {
        match event {
            Event::Node(node) => {
                path.truncate(node.depth.saturating_sub(1));
                if node.depth > 0 {
                    path.push(node.name.clone());
                }
                let mut bytes = Vec::new();
                let mut piece = [0; 5000];
                loop {
                    let count = decoder.read_payload(&mut piece)?;
                    if count == 0 {
                        break;
                    }
                    bytes.extend_from_slice(&piece[..count]);
                }
                nodes.push((path.join(&b'/'), *node, bytes));
            }
            Event::Leave { searchable } => all_searchable &= searchable,
        }
    }
    Ok((nodes, all_searchable))
}

/// The stream of decoded nodes.
pub fn encode_again(nodes: &[Decoded], flags: Flags) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), flags);
    let mut open = 0;
    for (_, node, bytes) in nodes {
        while open > node.depth {
            encoder.leave().unwrap();
            open -= 1;
        }
        encoder.node(&node.name, &node.metadata, &node.content).unwrap();
        encoder.payload(bytes).unwrap();
        open += usize::from(node.content == Content::Directory);
    }
    for _ in 0..open {
        encoder.leave().unwrap();
    }
    encoder.finish().unwrap().0
}
