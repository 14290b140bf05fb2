//! Feeds parsers what nobody would write: a corpus of real inputs, and mutations of it.
//!
//! A target is three lines beside its parser, and a folder of seeds, one input a file:
//!
//! ```ignore
//! #[test]
//! fn fuzz_grants() {
//!     crate::fuzz::run("grants", |bytes| drop(Grant::parse(bytes)));
//! }
//! ```
//!
//! with `tests/fuzz/grants/*`. A target may not panic, may not take longer than [`PATIENCE`] for one input, and asserts
//! what else must hold. There is no feedback of coverage: what is found depends on the seeds, so they should hold one
//! example of everything that a parser knows. `POLYLOGUE_FUZZ_SECONDS` makes every target run that long instead of
//! [`CASES`] inputs; `POLYLOGUE_FUZZ_SEED` repeats a run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

/// Inputs of a run that nobody gave more time.
const CASES: u32 = 2_000;
/// The longest input: above every line, header and file that a parser of ours is given in one piece in practice.
const LONGEST: usize = 64 * 1024;
/// What one input may take, on a machine that has other things to do. What is quadratic takes longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// By how much the memory of the process may grow while one target runs, where targets run one after the other.
const MEMORY_KIB: u64 = 256 * 1024;

/// What parsers stumble over.
const TOKENS: [&[u8]; 30] = [
    b"\0",
    b"\"",
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b",",
    b";",
    b":",
    b"=",
    b"[",
    b"]",
    b"{",
    b"}",
    b"%00",
    b"&",
    b"*",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"1e999",
    b"null",
    b"\\ud800",
    b"\xff",
    b"\xc0\x80",
    b"\xf0\x9f\x92\xa9",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"<|im_start|>",
    b"hunter2",
];

/// Runs `target` on the seeds of `tests/fuzz/<name>` and on mutations of them.
pub fn run(name: &str, target: impl Fn(&[u8])) {
    let seeds = seeds(name);
    let seed = setting("POLYLOGUE_FUZZ_SEED").unwrap_or_else(|| rand::rng().random());
    let limit = setting("POLYLOGUE_FUZZ_SECONDS").map(Duration::from_secs);
    let (mut random, began, memory) = (StdRng::seed_from_u64(seed), Instant::now(), peak_memory());
    let (mut cases, mut slowest) = (0_u32, Duration::ZERO);
    while limit.map_or(cases < CASES, |limit| began.elapsed() < limit) {
        let input = match seeds.get(cases as usize) {
            Some(seed) => seed.clone(),
            None => mutated(&seeds, &mut random),
        };
        let at = Instant::now();
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            let said = cause.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or_default();
            panic!("{name}: input {cases} of seed {seed}: {said}: b\"{}\"", input.escape_ascii());
        }
        slowest = slowest.max(at.elapsed());
        assert!(slowest < PATIENCE, "{name}: {slowest:?} for b\"{}\"", input.escape_ascii());
        cases += 1;
    }
    let grown = peak_memory().saturating_sub(memory);
    assert!(limit.is_none() || grown < MEMORY_KIB, "{name}: {grown} KiB of memory more");
    let (seeds, took) = (seeds.len(), began.elapsed());
    eprintln!(
        "fuzz {name}: {cases} cases from {seeds} seeds in {took:.1?}, slowest {slowest:.1?}, +{grown} KiB, seed {seed}"
    );
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "no setting of the program: how long its tests run")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The most memory that the process has had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// One of the seeds, changed in one to eight places.
fn mutated(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = seeds.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=8) {
        mutate(&mut input, seeds, random);
        input.truncate(LONGEST);
    }
    input
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut StdRng) {
    let (start, end) = range(input.len(), random);
    match random.random_range(0..9) {
        0 => input.truncate(start),
        1 => drop(input.drain(start..end)),
        2 => {
            let piece = input[start..end].to_vec();
            insert(input, end, &piece);
        }
        3 => {
            let other = seeds.choose(random).cloned().unwrap_or_default();
            let (from, to) = range(other.len(), random);
            insert(input, start, &other[from..to]);
        }
        4 => {
            let token = TOKENS.choose(random).copied().unwrap_or_default();
            drop(input.splice(start..end.min(start + token.len()), token.iter().copied()));
        }
        5 => {
            // Nesting and repetition, where parsers run out of stack or patience.
            let token = TOKENS.choose(random).copied().unwrap_or_default();
            let times = 1_usize << random.random_range(0..14);
            insert(input, start, &token.repeat(times.min(LONGEST / token.len().max(1))));
        }
        6 => input[start..end].iter_mut().for_each(|byte| *byte = random.random()),
        _ => {
            if let Some(byte) = input.get_mut(start) {
                *byte ^= 1 << random.random_range(0..8);
            } else {
                input.push(random.random());
            }
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(input.splice(at..at, piece.iter().copied()));
}

/// A part of something so long, mostly a short one.
fn range(length: usize, random: &mut StdRng) -> (usize, usize) {
    let start = random.random_range(0..=length);
    let longest = if random.random_bool(0.8) { 16 } else { length };
    (start, (start + random.random_range(0..=longest)).min(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_panics_is_found_with_its_input() {
        let panics = |bytes: &[u8]| assert!(!bytes.windows(2).any(|pair| pair == b"}{"), "found it");
        let found = catch_unwind(|| run("client_frames", panics)).unwrap_err();
        let said = found.downcast_ref::<String>().unwrap();
        assert!(said.contains("client_frames: input ") && said.contains("found it: b\""), "{said}");
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let seeds = [b"a seed".to_vec(), b"{\"another\": 1}".to_vec()];
        let inputs = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..100).map(|_| mutated(&seeds, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }
}
