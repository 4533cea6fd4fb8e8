//! The `reconcile` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    reconcile::cli::main()
}
