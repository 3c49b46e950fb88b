//! The one error type of the core.
//!
//! An error says what is wrong in terms of the user's world (operation, shapes, parameter path,
//! file), and may carry a line of help. It never carries a backtrace.

use std::fmt;
use std::path::Path;

/// Result of every fallible function of the core.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of mistake an [`Error`] reports; scripts can read it as `e.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A setting with a wrong name, type or value.
    Setting,
    /// Shapes that do not fit.
    Shape,
    /// A file that is missing, truncated or of another format.
    Data,
    /// A loss or parameter that is no longer finite.
    Diverged,
    /// The operating system refused: permissions, full disk, existing folder.
    Io,
    /// Something the chosen device or this build cannot do.
    Device,
    /// Tensors that do not fit into memory.
    Memory,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The kind's name as scripts see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Shape => "shape",
            Self::Data => "data",
            Self::Diverged => "diverged",
            Self::Io => "io",
            Self::Device => "device",
            Self::Memory => "memory",
            Self::Interrupted => "interrupted",
            Self::Other => "other",
        }
    }
}

/// An error of the core: a kind, a message, and optionally a line of help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What sort of mistake it is.
    pub kind: ErrorKind,
    /// What is wrong, in one sentence without a final stop.
    pub message: String,
    /// What the user can do about it.
    pub help: Option<String>,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// A wrong setting.
    pub fn setting(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Setting, message)
    }

    /// Shapes that do not fit: name the operation or path and both shapes.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, message)
    }

    /// A data file that is not what it should be.
    pub fn data(path: &Path, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Data,
            format!("{}: expected {expected}, found {found}", path.display()),
        )
    }

    /// The operating system's refusal, with the path it concerns.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{}: {error}", path.display()))
    }

    /// Any other failure.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other, message)
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// The same error with a line of help.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error with the place where it happened (a parameter path, a layer) put in front.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " (help: {help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        fn strip(error: &candle_core::Error) -> String {
            match error {
                candle_core::Error::WithBacktrace { inner, .. } => strip(inner),
                candle_core::Error::Context { inner, context } => {
                    format!("{context}: {}", strip(inner))
                }
                candle_core::Error::WithPath { inner, path } => {
                    format!("{}: {}", path.display(), strip(inner))
                }
                other => other.to_string(),
            }
        }
        Self::other(strip(&error))
    }
}
