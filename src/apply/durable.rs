//! Making what is staged durable, before anything of it comes into use.

use std::collections::BTreeSet;
use std::io;

use crate::apply::rounds::Ready;
use crate::host::{Change as Host, sync_file_system};
use crate::model::outcome::{End, Failure, FailureClass, chain};
use crate::model::{Change, Step, StepKind};

/// Syncs each file system that something was staged on, once. What cannot be made durable fails.
pub(super) async fn sync_all(host: &Host, changes: &[Change], ready: &mut Ready) {
    let mut synced = BTreeSet::new();
    for (place, staged) in ready {
        let staged = staged.as_mut().filter(|staged| staged.end == End::Done);
        if let Some((staged, change)) = staged.zip(changes.get(*place))
            && let Err(failure) = sync(host, change, &mut synced).await
        {
            staged.end = End::Failed(failure);
        }
    }
}

/// One sync for a whole file system, however many releases with however many files were staged on it.
async fn sync(host: &Host, change: &Change, synced: &mut BTreeSet<u64>) -> Result<(), Failure> {
    for step in &change.steps {
        if let Step::Unpack { into, .. } | Step::Place { into, .. } | Step::Assemble { into, .. } =
            step
        {
            let (step, class) = (StepKind::Unpack, FailureClass::Transient);
            let fail = |error: io::Error| Failure { step, class, message: chain(&error) };
            let device = host.device(into).map_err(fail)?;
            if !synced.contains(&device) {
                // What others download goes on meanwhile: a slow disk takes its time.
                let real = host.real_followed(into);
                let syncing = tokio::task::spawn_blocking(move || sync_file_system(&real));
                let done = syncing.await.unwrap_or_else(|died| Err(io::Error::other(died)));
                done.map_err(fail)?;
                synced.insert(device);
            }
        }
    }
    Ok(())
}
