//! HTTP/1 heads and bodies as bytes: what is let through, and what is made of it. No IO.
//!
//! One parser judges and rewrites, so that there are no two that could disagree on where a message ends
//! (request smuggling, RFC 9112 section 11.2). It takes what RFC 9112 has a sender make, and not what it
//! allows a lenient recipient to guess.

mod answer;
mod chars;
mod chunked;
mod fields;
mod length;
mod names;
mod refusal;
mod request;
mod scan;
#[cfg(test)]
mod tests;
mod trace;
mod trailers;
mod variants;

pub use answer::{Answer, AnswerFraming};
pub use chunked::{Chunked, Filtered, Unwrap};
pub use fields::{Fields, HeadLimit};
pub use refusal::Refusal;
pub use request::{Body, Request, Rewrite, Version};
pub use scan::HeadScan;
pub use trace::Seed;
pub use trailers::Trailers;

pub(crate) use answer::Delivery;
pub(crate) use length::read as read_length;
pub(crate) use names::{Kind, kind_of, may_be_trailer};
pub(crate) use request::is_host;
pub(crate) use trace::is_valid as valid_trace;
