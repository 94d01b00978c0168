//! The command line of transient: a small consumer of `transient-core`.

fn main() {}
