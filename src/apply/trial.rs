//! Running the program that is to take the place of this one, before it does.

use camino::Utf8Path;

use crate::apply::install::program_for;
use crate::host::Change as Host;
use crate::host::runner::output;
use crate::model::StepKind;
use crate::model::outcome::{Failure, FailureClass, chain};

/// Runs the program of a release with each of some arguments. It must end well, and be this program.
pub(super) async fn attempt(
    host: &Host,
    (release, wished): (&Utf8Path, &Utf8Path),
    trials: &[Vec<String>],
) -> Result<(), Failure> {
    let fail = |class, message| Failure { step: StepKind::Try, class, message };
    let program =
        program_for(host, release, wished).map_err(|e| fail(FailureClass::Permanent, chain(&e)))?;
    let program = host.real(release.join(program)).into_string();
    let why = "the new program does not take the place of the running one";
    for trial in trials {
        let argv: Vec<String> = [&program].into_iter().chain(trial).cloned().collect();
        let said = output(&argv).await.map_err(|e| {
            let bad = e.blames_program();
            let class = if bad { FailureClass::Unsuitable } else { FailureClass::Transient };
            fail(class, format!("{why}: {}", chain(&e)))
        })?;
        // Any program at all may end well.
        if trial.iter().eq(["--version"]) && !said.starts_with("reconcile ") {
            let message = format!("{why}: `{program} --version` does not say `reconcile`");
            return Err(fail(FailureClass::Unsuitable, message));
        }
    }
    Ok(())
}
