//! Runs the load generator.

use std::process::ExitCode;

use clap::Parser as _;
use polylogue_load::app;
use polylogue_load::cli::Cli;

// Thousands of connections with small buffers: the system's allocator is the dearest part of the generator otherwise.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match app::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
