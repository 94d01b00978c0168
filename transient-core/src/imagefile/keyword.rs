//! The names of the instructions: the one list of them.

/// The instructions by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Keyword {
    From,
    Disk,
    Partition,
    Copy,
    Add,
    Run,
    Inspect,
}

impl Keyword {
    /// All of them, in the order in which a file has them.
    pub const ALL: [Self; 7] =
        [Self::From, Self::Disk, Self::Partition, Self::Copy, Self::Add, Self::Run, Self::Inspect];

    /// Returns the name in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::From => "FROM",
            Self::Disk => "DISK",
            Self::Partition => "PARTITION",
            Self::Copy => "COPY",
            Self::Add => "ADD",
            Self::Run => "RUN",
            Self::Inspect => "INSPECT",
        }
    }

    /// Returns the keyword of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(name))
    }

    /// Returns what the instruction looks like.
    pub fn usage(self) -> &'static str {
        match self {
            Self::From => "FROM <image>[,<protocol>=<source>], or FROM scratch",
            Self::Disk => "DISK <number> <MB|GB|TB|MiB|GiB|TiB> <GPT|MBR>",
            Self::Partition => {
                "PARTITION <number> [SIZE <number> <unit>] [FORMAT <filesystem> [OPTIONS \"<text>\"]] \
                 [MOUNT <path>] [FLAGS <flag>,...]"
            }
            Self::Copy => "COPY <source>... <destination>",
            Self::Add => "ADD <source>... <destination>",
            Self::Run => "RUN <command>",
            Self::Inspect => "INSPECT",
        }
    }

    /// Whether a `#` after a blank begins a comment. In commands and file names it does not.
    pub(super) fn has_comments(self) -> bool {
        matches!(self, Self::From | Self::Disk | Self::Partition | Self::Inspect)
    }
}
