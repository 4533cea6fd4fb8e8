//! A repository behind smart HTTP (protocol version 2), as well-behaved as a test wants it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use gix::objs::Kind;

/// How it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Plain,
    /// Half of a pack, and then nothing until the other side is gone.
    Stalling,
    /// References without end.
    Endless,
}

/// The server; it ends with the test's process.
pub struct Smart {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
}

impl Smart {
    /// Serves a bare repository that has all its objects by themselves.
    pub fn start(repository: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(Manner::Plain));
        let (shared, repository) = (Arc::clone(&manner), repository.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, repository) = (*shared.lock().unwrap(), repository.clone());
                std::thread::spawn(move || answer(&stream, &repository, manner));
            }
        });
        Self { address, manner }
    }

    pub fn url(&self) -> String {
        format!("http://{}/state.git", self.address)
    }

    pub fn be(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

/// One request; the connection is closed after it.
fn answer(stream: &TcpStream, repository: &Path, manner: Manner) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let body = body(&mut reader)?;
    let head = |kind: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack-{kind}\r\n\r\n"
        )
    };
    let mut stream = stream;
    if line.starts_with("GET") {
        let mut text = packet(b"# service=git-upload-pack\n");
        text.extend(b"0000");
        for line in ["version 2\n", "ls-refs=unborn\n", "fetch=shallow\n", "object-format=sha1\n"] {
            text.extend(packet(line.as_bytes()));
        }
        text.extend(b"0000");
        stream.write_all(head("advertisement").as_bytes()).ok()?;
        return stream.write_all(&text).ok();
    }
    stream.write_all(head("result").as_bytes()).ok()?;
    let text = String::from_utf8_lossy(&body);
    if text.contains("command=ls-refs") {
        // Endless: until nobody listens any more.
        let numbers = (1_u64..).take_while(|_| manner == Manner::Endless);
        for number in numbers {
            let line = format!("{number:040x} refs/heads/main{}{number}\n", "x".repeat(700));
            stream.write_all(&packet(line.as_bytes())).ok()?;
        }
        return stream.write_all(&references(repository)).ok();
    }
    let pack = fetched(repository, &text);
    if manner == Manner::Stalling {
        stream.write_all(&pack[..pack.len() / 2]).ok()?;
        return stream.read(&mut [0]).ok().map(drop);
    }
    stream.write_all(&pack).ok()
}

/// The rest of a request.
fn body(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    content(reader, (length, chunked))
}

/// The body of a request of which the head was read: so many bytes, then chunks where there are any.
pub fn content(reader: &mut impl BufRead, (length, mut chunked): (usize, bool)) -> Option<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // Chunks end with an empty one.
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        chunked = size > 0;
    }
    Some(body)
}

fn packet(bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}", bytes.len() + 4).as_bytes(), bytes].concat()
}

/// Branches and tags.
fn references(repository: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for directory in ["refs/heads", "refs/tags"] {
        for entry in fs::read_dir(repository.join(directory)).into_iter().flatten().flatten() {
            let id = fs::read_to_string(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            let line = format!("{} {directory}/{name}\n", id.trim());
            text.extend(packet(line.as_bytes()));
        }
    }
    text.extend(b"0000");
    text
}

/// All objects, and where the history ends when the other side wants an end.
fn fetched(repository: &Path, request: &str) -> Vec<u8> {
    let words = |word: &str| -> BTreeSet<String> {
        let lines = request.split(word).skip(1).filter_map(|rest| rest.get(..40));
        lines.filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned).collect()
    };
    let mut text = Vec::new();
    if !request.contains("done") {
        text.extend(packet(b"acknowledgments\n"));
        text.extend(packet(b"NAK\n"));
        text.extend(b"0000");
        return text;
    }
    let (word, said) = if request.contains("deepen 2147483647") {
        ("shallow ", "unshallow")
    } else if request.contains("deepen 1") {
        ("want ", "shallow")
    } else {
        ("", "")
    };
    if !said.is_empty() {
        text.extend(packet(b"shallow-info\n"));
        for id in words(word) {
            text.extend(packet(format!("{said} {id}").as_bytes()));
        }
        text.extend(b"0001");
    }
    text.extend(packet(b"packfile\n"));
    for part in pack(repository).chunks(60_000) {
        text.extend(packet(&[b"\x01", part].concat()));
    }
    text.extend(b"0000");
    text
}

/// All objects as a pack (`gitformat-pack(5)`), none as a difference.
fn pack(repository: &Path) -> Vec<u8> {
    let store = gix::open(repository).unwrap();
    let mut objects = Vec::new();
    for directory in fs::read_dir(repository.join("objects")).unwrap().flatten() {
        let prefix = directory.file_name().into_string().unwrap();
        if prefix.len() != 2 {
            continue;
        }
        for file in fs::read_dir(directory.path()).unwrap().flatten() {
            let id = prefix.clone() + &file.file_name().into_string().unwrap();
            objects.push(gix::ObjectId::from_hex(id.as_bytes()).unwrap());
        }
    }
    let mut bytes = b"PACK\0\0\0\x02".to_vec();
    bytes.extend(u32::try_from(objects.len()).unwrap().to_be_bytes());
    for id in objects {
        let object = store.find_object(id).unwrap();
        let kind = match object.kind {
            Kind::Commit => 1_u8,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let mut size = object.data.len();
        let mut byte = (kind << 4) | u8::try_from(size & 15).unwrap();
        size >>= 4;
        while size > 0 {
            bytes.push(byte | 0x80);
            byte = u8::try_from(size & 0x7f).unwrap();
            size >>= 7;
        }
        bytes.push(byte);
        let mut zlib = flate2::write::ZlibEncoder::new(bytes, flate2::Compression::fast());
        zlib.write_all(&object.data).unwrap();
        bytes = zlib.finish().unwrap();
    }
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&bytes);
    bytes.extend(hasher.try_finalize().unwrap().as_slice());
    bytes
}
