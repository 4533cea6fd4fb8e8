//! Listening: few connections at a time, each bounded in size and time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use camino::Utf8Path;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::host::accept::accepted;
use crate::monitor::Snapshot;
use crate::monitor::api::{Hosts, router};

/// Connections kept at once on each listener; for another one the oldest is closed, so that clients which never
/// ask keep nobody out.
const CONNECTIONS_MAX: usize = 32;

/// How long the head of a request may take to arrive.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// How long one connection may last, however many requests it makes.
const CONNECTION_TIME_MAX: Duration = Duration::from_mins(1);

/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most header fields of a request.
const FIELDS_MAX: usize = 64;

/// What is served: the newest snapshot, once there is one.
pub type Feed = watch::Receiver<Option<Arc<Snapshot>>>;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("cannot listen on {address}")]
    Listen {
        /// Path or address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody could read it.
    #[error("{address} is not an address of this host alone; use 127.0.0.1 or [::1]")]
    NotLoopback {
        /// The address.
        address: std::net::SocketAddr,
    },
}

/// Listens on a Unix socket that its owner and group may use. One that a dead process left is replaced.
#[expect(
    clippy::disallowed_methods,
    reason = "the socket is the agent's own, not the managed host's"
)]
pub fn unix(path: &Utf8Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { address: path.to_string(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Listens on a loopback address.
pub async fn tcp(address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { address });
    }
    let failed = |source| ServeError::Listen { address: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Serves a Unix socket for ever.
pub async fn serve_unix(listener: UnixListener, feed: Feed) -> Infallible {
    let accept = move |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
    serve_each(accept, router(feed, Hosts::Any)).await
}

/// Serves a loopback address for ever. A request must name this host as `Host`: a page in somebody's browser whose
/// name was made to resolve to this address names another.
pub async fn serve_tcp(listener: TcpListener, feed: Feed) -> Infallible {
    let accept = move |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
    serve_each(accept, router(feed, Hosts::Loopback)).await
}

async fn serve_each<S>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>> + Send,
    app: Router,
) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut kept: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let stream = accepted(&mut accept).await;
        kept.retain(|connection| !connection.is_finished());
        if kept.len() >= CONNECTIONS_MAX
            && let Some(oldest) = kept.pop_front()
        {
            oldest.abort();
        }
        kept.push_back(tokio::spawn(connection(stream, app.clone())));
    }
}

async fn connection<S>(stream: S, app: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX);
    let serving = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match tokio::time::timeout(CONNECTION_TIME_MAX, serving).await {
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Ok(Ok(())) | Err(_) => {}
    }
}
