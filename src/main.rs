//! The command line: parses flags, then hands over.

fn main() {}
