//! systemd units of another updater: the imported document always parses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::desired::import::ConfigFile;
use reconcile::desired::import::distronomicon::import;

fuzz_target!(|texts: (&str, &str)| {
    let file = |path: &str, text: &str| ConfigFile { path: path.to_owned(), text: text.to_owned() };
    let unit = "/etc/systemd/system/distronomicon@tool.service";
    let _ = import(&[file(unit, texts.0), file(&format!("{unit}.d/a.conf"), texts.1)]);
});
