//! Nothing: the benchmarks are in `hot_paths.rs`.
