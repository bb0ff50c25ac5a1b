//! A body that plays a script: bytes, then perhaps silence or a break.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::HangUp;

/// How a script ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As a body should.
    Clean,
    /// The connection breaks.
    Cut,
    /// Nothing more comes, ever.
    Silence,
    /// The last piece comes again and again.
    Endless,
}

/// A body that plays pieces of bytes, each in a frame of its own.
#[derive(Debug)]
pub struct Script {
    pieces: VecDeque<Bytes>,
    ending: Ending,
    /// When only so many pieces are left, they wait for this.
    pause: Option<(usize, Pin<Box<Sleep>>)>,
    /// A length to announce, whatever comes.
    announced: Option<u64>,
    /// Counts up if the body is dropped before its end.
    abandoned: Option<watch::Sender<usize>>,
    /// Whether what was handed out last has had the time to be sent.
    was_flushed: bool,
}

impl Script {
    /// Plays the pieces, then the ending.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>, ending: Ending) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            ending,
            pause: None,
            announced: None,
            abandoned: None,
            was_flushed: true,
        }
    }

    /// Plays what comes after the first `pieces` no sooner than `span` from now.
    pub fn pause(mut self, pieces: usize, span: Duration) -> Self {
        let left = self.pieces.len().saturating_sub(pieces);
        self.pause = Some((left, Box::pin(tokio::time::sleep(span))));
        self
    }

    /// Announces a length, whatever comes.
    pub fn announce(mut self, length: u64) -> Self {
        self.announced = Some(length);
        self
    }

    pub(super) fn on_abandoned(mut self, abandoned: watch::Sender<usize>) -> Self {
        self.abandoned = Some(abandoned);
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        // The server sends what it has when a body pauses; without a pause, a cut would come first.
        if !std::mem::replace(&mut self.was_flushed, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.pieces.len();
        if let Some((_, sleep)) = self.pause.as_mut().filter(|(at, _)| left <= *at) {
            ready!(sleep.as_mut().poll(cx));
            self.pause = None;
        }
        if self.ending == Ending::Endless && self.pieces.len() == 1 {
            return Poll::Ready(self.pieces.front().cloned().map(|piece| Ok(Frame::data(piece))));
        }
        if let Some(piece) = self.pieces.pop_front() {
            self.was_flushed = false;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.ending {
            // No waker: only the other side can end this, and the server then drops the body.
            Ending::Silence => Poll::Pending,
            Ending::Clean | Ending::Endless => {
                self.abandoned = None;
                Poll::Ready(None)
            }
            Ending::Cut => {
                self.abandoned = None;
                Poll::Ready(Some(Err(HangUp)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(abandoned) = &self.abandoned {
            abandoned.send_modify(|count| *count += 1);
        }
    }
}
