//! Why a message is not let through.

/// What is wrong with a request (or, as text, with an answer), and the status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// What is wrong, for whoever reads the answer or the log.
    pub what: &'static str,
}

impl Refusal {
    /// 400: not a message that HTTP knows, or one that could be read in two ways.
    pub(crate) const fn bad(what: &'static str) -> Self {
        Self { status: 400, what }
    }

    /// 501: something that is not done here.
    pub(crate) const fn unimplemented(what: &'static str) -> Self {
        Self { status: 501, what }
    }

    /// 431: more head than the link takes.
    pub(crate) const fn too_large(what: &'static str) -> Self {
        Self { status: 431, what }
    }
}
