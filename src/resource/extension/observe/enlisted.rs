//! Whether systemd-sysupdate says that images were installed by it.

use crate::format::sysupdate::installed;
use crate::format::sysupdate::pattern::Pattern;
use crate::host::Look;
use crate::resource::extension::spec::{Followed, Transfer};

/// Whether its list of what was installed has every pattern of a transfer.
pub(super) fn is_enlisted(host: &Look, followed: &Followed, transfer: &Transfer) -> bool {
    let list = followed.list();
    let is_listed = |pattern: &Pattern| {
        let text = installed::text(transfer.directory.as_str(), pattern);
        let entry = list.join(installed::name(&text));
        host.link_in_utf8(&entry).is_ok_and(|found| found == Some(text))
    };
    transfer.target.iter().all(is_listed)
}
