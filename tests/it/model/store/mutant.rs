//! Wrong stores, to see that the checks see them.

/// A way to be wrong. The checks must notice each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// As the contract says.
    #[default]
    None,
    /// A write is not compared with anything.
    WritesForAnybody,
    /// A write is not asked what it follows.
    WritesAnywhere,
    /// A read does not drop what is at or below the position inside an entry.
    ReadsWholeEntries,
    /// A takeover leaves unfinished replies as they are.
    ResetsNothing,
    /// A takeover's epoch is the next number, whatever the clock says.
    CountsEpochs,
}
