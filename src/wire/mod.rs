//! Bytes and types of the Responses protocol: values in, values out. No clock, no I/O, no configuration.
//!
//! Only what Sidestep acts on is named here; everything else in a body passes as the bytes that came.

pub mod assemble;
pub mod blob;
pub mod continuation;
pub mod error_object;
pub mod event;
pub mod history;
pub mod lifecycle;
pub mod members;
pub mod request;
pub mod response;
pub mod skim;
pub mod sse;
pub mod unfold;
pub mod wait;
