//! What can be wrong with a server or with what it says.

use std::io;

/// What is wrong: a clause. What a server said of it is made fit to be shown.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NbdError {
    #[error("its socket cannot be connected to: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection to the server broke: {0}")]
    Io(#[source] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server said nothing more for {seconds} seconds")]
    TimedOut { seconds: u64 },
    #[error("the server took more than {seconds} seconds for one answer")]
    TooSlow { seconds: u64 },
    /// The connection, or another one to the same server, came to its end before.
    #[error("{why}")]
    Lost { why: String },
    #[error("it does not greet as an NBD server does")]
    Greeting,
    #[error("the server knows the old handshake alone, which has no named exports")]
    OldHandshake,
    #[error("the name of the export or bitmap is longer than 4096 bytes")]
    NameLength,
    #[error("the server wants TLS, which is not spoken over a local socket")]
    Tls,
    #[error("the server has no export of this name{}", said(.message))]
    NoExport { message: String },
    #[error("the export has no bitmap “{name}”; {}", bitmaps(.there))]
    NoBitmap { name: String, there: Vec<String> },
    #[error("the server refuses to {wish} (error {code:#x}){}", said(.message))]
    Refused { wish: &'static str, code: u32, message: String },
    #[error("an answer of the handshake belongs to no question")]
    StrayAnswer,
    #[error("an answer of the handshake has a length that its kind cannot have")]
    AnswerLength,
    #[error("the server gives no end of answers in the handshake")]
    TooManyAnswers,
    #[error("the server says the same thing twice")]
    Duplicate,
    #[error("the server does not say the size of the export")]
    NoSize,
    #[error("the size of the export is out of range")]
    Size,
    #[error("the server's sizes of requests contradict each other")]
    RequestSizes,
    #[error("the server's flags are none that an export can have")]
    Flags,
    #[error("a reply does not begin as replies do")]
    ReplyMagic,
    #[error("a reply belongs to no request")]
    StrayReply,
    #[error("a reply has another kind than its request can have")]
    ReplyKind,
    #[error("a reply has a length that its kind cannot have")]
    ReplyLength,
    #[error("a reply tells of bytes that were not asked for")]
    Outside,
    #[error("a reply gives the same bytes twice")]
    Overlap,
    #[error("a reply leaves bytes out")]
    Uncovered,
    #[error("a reply has more errors than a reply can have")]
    TooManyErrors,
    #[error("a reply tells of extents without end or of none")]
    Extents,
    #[error("the server tells nothing of this kind of extents")]
    NoContext,
    #[error("the server answered with {}{}", errno(*.code), said(.message))]
    Server { code: u32, message: String },
}

impl NbdError {
    /// Whether the connection can go on: the server answered in good form, only not what was hoped for.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, NbdError::Server { .. } | NbdError::NoContext)
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": “{message}”") }
}

fn bitmaps(there: &[String]) -> String {
    if there.is_empty() {
        return "it has none".to_owned();
    }
    let quoted: Vec<_> = there.iter().map(|name| format!("“{name}”")).collect();
    format!("it has {}", quoted.join(", "))
}

/// The protocol's own numbers of errors, which are those of Linux.
fn errno(code: u32) -> String {
    let name = match code {
        1 => "EPERM",
        5 => "EIO",
        12 => "ENOMEM",
        22 => "EINVAL",
        28 => "ENOSPC",
        75 => "EOVERFLOW",
        95 => "ENOTSUP",
        108 => "ESHUTDOWN",
        _ => return format!("error {code}"),
    };
    name.to_owned()
}
