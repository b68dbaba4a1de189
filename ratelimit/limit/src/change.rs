//! What a hit does to its counter.

/// What a hit does to its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Adds so many; 0 only looks.
    Add(u32),
    /// Takes so many off, never below 0.
    Refund(u32),
}

impl Change {
    /// The hits a request stands for; none when it looks or gives back.
    pub fn added(self) -> u32 {
        match self {
            Change::Add(hits) => hits,
            Change::Refund(_) => 0,
        }
    }
}
