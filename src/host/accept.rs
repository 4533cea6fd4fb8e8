//! Accepting connections, whatever goes wrong with one of them.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long nobody is accepted after a failure: out of file descriptors, mostly, and asking again at once would use a
/// whole processor.
const REST: Duration = Duration::from_millis(200);

/// The next connection of a listener that is asked by `accept`.
pub async fn accepted<S>(mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>) -> S {
    loop {
        match poll_fn(&mut accept).await {
            Ok(stream) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failure_is_followed_by_a_rest_and_by_another_try() {
        let mut tries = 0;
        let began = tokio::time::Instant::now();
        let stream = accepted(|_| {
            tries += 1;
            Poll::Ready(if tries < 2 { Err(io::Error::other("none is left")) } else { Ok("one") })
        });
        assert_eq!(stream.await, "one");
        assert_eq!(tries, 2);
        assert!(began.elapsed() >= REST);
    }
}
