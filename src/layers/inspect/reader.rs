//! Reads a body piece by piece without losing any: what has been read goes back in front.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;

use crate::backend::transport::TransportError;
use crate::verdict::{Defect, Evidence};
use crate::wire::event::{EventDetail, EventKind};
use crate::wire::sse::{EventSplitter, EventTooLarge};

/// Why no more can be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The connection broke.
    Transport(TransportError),
    /// An event is larger than the limit.
    EventTooLarge,
}

impl ReadError {
    pub(super) fn evidence(&self) -> Evidence<'static> {
        match self {
            Self::Transport(error) => error.evidence(),
            Self::EventTooLarge => super::event_defect(Defect::BrokenEvent),
        }
    }
}

/// White space may lead a body; more than this is no beginning.
const START_BYTES_MAX: usize = 1024;

/// What a body of unknown type begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// A field of an event stream, or a comment.
    EventStream,
    /// Anything else.
    Other,
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct BodyReader {
    read: VecDeque<Bytes>,
    body: Body,
}

impl BodyReader {
    pub(super) fn new(body: Body) -> Self {
        Self { read: VecDeque::new(), body }
    }

    /// What the body begins like.
    pub(super) async fn start(&mut self) -> Result<Start, ReadError> {
        const FIELDS: [&[u8]; 5] = [b"event:", b"data:", b"id:", b"retry:", b":"];
        // As long as the longest of them.
        const ENOUGH: usize = 6;
        let mut start = BytesMut::new();
        loop {
            let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
            if FIELDS.iter().any(|field| text.starts_with(field)) {
                return Ok(Start::EventStream);
            }
            if text.len() >= ENOUGH || start.len() > START_BYTES_MAX {
                return Ok(Start::Other);
            }
            let Some(chunk) = next_chunk(&mut self.body).await? else {
                return Ok(Start::Other);
            };
            start.extend_from_slice(&chunk[..chunk.len().min(START_BYTES_MAX)]);
            self.read.push_back(chunk);
        }
    }

    /// The whole body; `None` when it is larger than `bytes_max`: then it has to be passed on.
    pub(super) async fn whole(&mut self, bytes_max: usize) -> Result<Option<Bytes>, ReadError> {
        let mut length = self.read.iter().map(Bytes::len).sum::<usize>();
        while let Some(chunk) = next_chunk(&mut self.body).await? {
            length += chunk.len();
            self.read.push_back(chunk);
            if length > bytes_max {
                return Ok(None);
            }
        }
        if self.read.len() <= 1 {
            return Ok(Some(self.read.pop_front().unwrap_or_default()));
        }
        let mut joined = BytesMut::with_capacity(length);
        self.read.drain(..).for_each(|chunk| joined.extend_from_slice(&chunk));
        Ok(Some(joined.freeze()))
    }

    /// The body with what has been read in front of the rest.
    pub(super) fn into_body(self) -> Body {
        if self.read.is_empty() { self.body } else { Body::new(self) }
    }

    /// The body as events of `event_bytes_max` at most.
    pub(super) fn into_events(self, event_bytes_max: usize) -> EventReader {
        let mut splitter = EventSplitter::new(event_bytes_max);
        self.read.into_iter().for_each(|chunk| splitter.push(chunk));
        EventReader { splitter, body: self.body, has_ended: false }
    }
}

impl HttpBody for BodyReader {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.read.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }
}

/// A body that is being read as events.
#[derive(Debug)]
pub(super) struct EventReader {
    splitter: EventSplitter,
    body: Body,
    has_ended: bool,
}

impl EventReader {
    /// The next whole event; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next whole event; `None` at the end, again and again.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ReadError>> {
        loop {
            match self.splitter.next_event() {
                Ok(Some(event)) => return Poll::Ready(Ok(Some(event))),
                Ok(None) => {}
                Err(EventTooLarge { .. }) => return Poll::Ready(Err(ReadError::EventTooLarge)),
            }
            if self.has_ended {
                // An event that lacks only its blank line counts; one that lacks more is dropped.
                let rest = self.splitter.finish().filter(is_complete);
                return Poll::Ready(Ok(rest));
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.splitter.push(chunk);
                    }
                }
                Some(Err(error)) => {
                    self.has_ended = true;
                    let error = TransportError::of_body(error);
                    return Poll::Ready(Err(ReadError::Transport(error)));
                }
                None => self.has_ended = true,
            }
        }
    }
}

fn is_complete(event: &Bytes) -> bool {
    EventDetail::read(event).is_some() || EventKind::of(event) == EventKind::Done
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, ReadError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadError::Transport(TransportError::of_body(error)))?;
        // Trailers end a body and have no place in front of a rest.
        if let Ok(chunk) = frame.into_data()
            && !chunk.is_empty()
        {
            return Ok(Some(chunk));
        }
    }
    // Some bodies must not be asked again when they are over.
    *body = Body::empty();
    Ok(None)
}
