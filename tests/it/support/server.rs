//! A small HTTP/1.1 server on this machine that behaves as well or as badly as a test wants.
//!
//! ```ignore
//! let server = Server::start();
//! server.serve("/tool.tar.gz", Reply::file(bytes).truncated_after(1000));
//! … fetch server.url("/tool.tar.gz") …
//! assert_eq!(server.requests()[0].path, "/tool.tar.gz");
//! ```
//!
//! A file has a strong `ETag` of its bytes and honours `If-None-Match`, `Range` and `If-Range`. One
//! thread for each connection; connections are kept alive.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Bytes written at once.
const PIECE_BYTES: usize = 1 << 20;

/// What was asked for, and how much was sent for it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub status: u16,
    /// Bytes of the body sent.
    pub sent: u64,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The value of a parameter of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|p| p.1)
    }

    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// How the body of a reply is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Whole,
    TruncatedAfter(usize),
    StallingAfter(usize),
    Endless,
    Slow { piece: usize, pause: Duration },
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Vec<u8>>,
    etag: Option<String>,
    ranges: bool,
    manner: Manner,
    token: Option<String>,
}

impl Reply {
    /// A file with a strong `ETag`.
    pub fn file(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        // Enough to tell bodies apart without hashing hundreds of megabytes.
        let edge = &body[..body.len().min(1 << 20)];
        let mut hash = Sha256::new();
        hash.update(edge);
        hash.update(body.len().to_le_bytes());
        let etag = HEXLOWER.encode(&hash.finalize()[..8]);
        Self { body: Arc::new(body), etag: Some(format!("\"{etag}\"")), ..Self::status(200) }
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Arc::default(),
            etag: None,
            ranges: true,
            manner: Manner::Whole,
            token: None,
        }
    }

    /// A redirect, also to another server.
    pub fn redirect(to: &str) -> Self {
        Self::status(302).header("Location", to)
    }

    /// A refusal until `reset` (seconds since 1970), as GitHub words it.
    pub fn rate_limited(status: u16, reset: i64) -> Self {
        Self::status(status)
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", &reset.to_string())
    }

    /// A body that never ends.
    pub fn endless() -> Self {
        Self { manner: Manner::Endless, body: Arc::new(vec![b'x'; 64 << 10]), ..Self::status(200) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another validator: `None` for none, `W/"…"` for a weak one.
    pub fn etag(mut self, etag: Option<&str>) -> Self {
        self.etag = etag.map(ToOwned::to_owned);
        self
    }

    /// `Range` is ignored.
    pub fn without_ranges(mut self) -> Self {
        self.ranges = false;
        self
    }

    /// The connection closes after so many bytes of the body.
    pub fn truncated_after(mut self, bytes: usize) -> Self {
        self.manner = Manner::TruncatedAfter(bytes);
        self
    }

    /// After so many bytes nothing more comes, and the connection stays open.
    pub fn stalling_after(mut self, bytes: usize) -> Self {
        self.manner = Manner::StallingAfter(bytes);
        self
    }

    /// Comes in small pieces.
    pub fn slow(mut self, piece: usize, pause: Duration) -> Self {
        self.manner = Manner::Slow { piece, pause };
        self
    }

    /// 404 to whoever does not send this bearer token.
    pub fn needing_token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(ToOwned::to_owned);
        self
    }
}

type Handler = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

#[derive(Default)]
struct State {
    replies: Mutex<HashMap<String, Vec<Reply>>>,
    handler: Mutex<Option<Handler>>,
    log: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

/// The server; it stops listening when dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                std::thread::spawn(move || converse(&stream, &shared));
            }
        });
        Self { address, state }
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers a path (with or without its query) with `reply` from now on.
    pub fn serve(&self, path: &str, reply: Reply) {
        self.serve_in_turn(path, [reply]);
    }

    /// Answers a path with each reply once, and with the last one for ever.
    pub fn serve_in_turn(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.state.replies.lock().unwrap().insert(path.to_owned(), replies);
    }

    /// Answers what nothing else answers.
    pub fn handle(&self, handler: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        *self.state.handler.lock().unwrap() = Some(Arc::new(handler));
    }

    /// All requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.lock().unwrap().clone()
    }

    /// All requests so far, which are then forgotten.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.log.lock().unwrap())
    }

    /// Method and path of all requests so far.
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is to stop.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn reply(&self, request: &Request) -> Reply {
        let mut replies = self.replies.lock().unwrap();
        for path in [request.path.as_str(), request.bare_path()] {
            if let Some(queue) = replies.get_mut(path) {
                return if queue.len() > 1 { queue.remove(0) } else { queue[0].clone() };
            }
        }
        drop(replies);
        let handler = self.handler.lock().unwrap().clone();
        handler.and_then(|handler| handler(request)).unwrap_or_else(|| Reply::status(404))
    }

    /// Notes a request, and gives its place in the log.
    fn note(&self, request: Request) -> usize {
        let mut log = self.log.lock().unwrap();
        log.push(request);
        log.len() - 1
    }

    fn count(&self, place: usize, bytes: usize) {
        if let Some(request) = self.log.lock().unwrap().get_mut(place) {
            request.sent += bytes as u64;
        }
    }
}

fn converse(stream: &TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let reply = state.reply(&request);
        if answer(stream, state, request, &reply).is_none() {
            return;
        }
    }
    // Somebody who does not speak HTTP, TLS for instance, learns it.
    let _ = (&*stream).write_all(b"HTTP/1.1 400 X\r\n\r\n");
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers, ..Request::default() })
}

/// Sends the reply; `None` when the connection is to be closed.
fn answer(stream: &TcpStream, state: &State, mut request: Request, reply: &Reply) -> Option<()> {
    let (status, range) = judge(&request, reply);
    let body = &reply.body[range.0..range.1];
    let mut head = format!("HTTP/1.1 {status} X\r\n");
    let mut header = |name: &str, value: &str| write!(head, "{name}: {value}\r\n").unwrap();
    match (status, reply.manner) {
        (304, _) => {}
        (_, Manner::Endless) => header("Connection", "close"),
        _ => header("Content-Length", &body.len().to_string()),
    }
    if let Some(etag) = &reply.etag {
        header("ETag", etag);
    }
    if status == 206 {
        let range = format!("bytes {}-{}/{}", range.0, range.1 - 1, reply.body.len());
        header("Content-Range", &range);
    }
    if status == 416 {
        header("Content-Range", &format!("bytes */{}", reply.body.len()));
    }
    reply.headers.iter().for_each(|(name, value)| header(name, value));
    head.push_str("\r\n");
    request.status = status;
    let with_body = request.method != "HEAD" && status != 304;
    let place = state.note(request);
    let body = if with_body { body } else { &[] };
    send(stream, head.as_bytes(), body, reply.manner, &|count| state.count(place, count))
}

/// The status and the range of the body that a request gets.
fn judge(request: &Request, reply: &Reply) -> (u16, (usize, usize)) {
    let all = (0, reply.body.len());
    if let Some(token) = &reply.token
        && request.header("authorization") != Some(&format!("Bearer {token}"))
    {
        return (404, (0, 0));
    }
    if reply.status != 200 {
        return (reply.status, all);
    }
    let modified =
        reply.headers.iter().find(|(name, _)| name == "Last-Modified").map(|(_, value)| value);
    let etag = reply.etag.as_ref();
    let same = match request.header("if-none-match") {
        Some(asked) => etag.is_some_and(|etag| etag == asked),
        None => {
            request.header("if-modified-since").is_some_and(|at| modified.is_some_and(|m| m == at))
        }
    };
    if same {
        return (304, (0, 0));
    }
    let current = request.header("if-range").is_none_or(|asked| {
        etag.is_some_and(|e| e == asked) || modified.is_some_and(|m| m == asked)
    });
    let range = request.header("range").filter(|_| reply.ranges && current).and_then(|range| {
        let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let end = if last.is_empty() { all.1 } else { last.parse::<usize>().ok()? + 1 };
        Some((start.parse::<usize>().ok()?, end.min(all.1)))
    });
    match range {
        Some((start, _)) if start >= all.1 => (416, (0, 0)),
        Some(range) => (206, range),
        None => (200, all),
    }
}

fn send(
    mut stream: &TcpStream,
    head: &[u8],
    body: &[u8],
    manner: Manner,
    count: &dyn Fn(usize),
) -> Option<()> {
    if manner == Manner::Whole && body.len() < PIECE_BYTES {
        count(body.len());
        return stream.write_all(&[head, body].concat()).ok();
    }
    stream.write_all(head).ok()?;
    let mut write = |bytes: &[u8]| {
        bytes.chunks(PIECE_BYTES).try_for_each(|piece| {
            count(piece.len());
            stream.write_all(piece).ok()
        })
    };
    match manner {
        Manner::Whole => write(body),
        Manner::TruncatedAfter(bytes) => {
            write(&body[..bytes.min(body.len())])?;
            (bytes >= body.len()).then_some(())
        }
        Manner::StallingAfter(bytes) => {
            write(&body[..bytes.min(body.len())])?;
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]);
            None
        }
        Manner::Endless => loop {
            write(body)?;
        },
        Manner::Slow { piece, pause } => body.chunks(piece).try_for_each(|piece| {
            std::thread::sleep(pause);
            write(piece)
        }),
    }
}
