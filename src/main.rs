//! The `berth` command. Assembles, decides nothing.

mod cli;
mod commands;
mod config;
mod output;
mod process;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    berth_runtime::tls::install_provider();
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&anyhow::Error::from(error)),
    };
    let result = runtime.block_on(cli::run(cli));
    // What still runs after an orderly end is a reader of a closed pipe or the like: not worth a wait.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error),
    }
}
