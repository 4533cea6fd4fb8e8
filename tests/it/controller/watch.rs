//! What leads to the desired state is watched, however it leads there.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::time::Duration;

use reconcile::controller::watch::watch;

/// How long a hint may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn link_that_leads_up_and_over_another_link_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for directory in ["etc", "deep/er/agent", "srv/wish-1", "srv/wish-2"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    symlink("wish-1", at("srv/current")).unwrap();
    // `..` leads up from deep/er, not from etc.
    symlink("../deep/er/agent", at("etc/agent")).unwrap();
    symlink("../../../srv/./current", at("deep/er/agent/desired")).unwrap();
    let (hint, hints) = mpsc::channel();
    watch(vec![at("etc/agent/desired")], move || hint.send(()).is_ok()).unwrap();
    hints.recv_timeout(PATIENCE).expect("one at the beginning");
    symlink("wish-2", at("srv/next")).unwrap();
    fs::rename(at("srv/next"), at("srv/current")).unwrap();
    hints.recv_timeout(PATIENCE).expect("the link leads elsewhere");
    fs::write(at("srv/wish-2/apps.yaml"), "").unwrap();
    hints.recv_timeout(PATIENCE).expect("there is another document");
}
