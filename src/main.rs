//! The `reconcile` program.

use std::process::ExitCode;

/// A pass makes and drops some hundred thousand small values on several threads: glibc's allocator took a
/// sixth of the processor time of a pass with nothing to do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reconcile::cli::main()
}
