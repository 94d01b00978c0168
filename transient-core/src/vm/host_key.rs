//! SSH host keys: learned when a guest is first met, and pinned.
//!
//! The key of a VM of the VM store is a comment in its configuration, so that it goes with the VM, and release 0.25
//! passes over it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How the line begins.
const COMMENT: &str = "# ssh-host-key: ";

/// Returns the key that is noted in a configuration file.
pub(super) fn noted(config: &Path) -> Option<String> {
    let text = fs::read_to_string(config).ok()?;
    let key = text.lines().find_map(|line| line.strip_prefix(COMMENT))?.trim();
    // One that was cut off is none.
    russh::keys::PublicKey::from_openssh(key).is_ok().then(|| key.to_owned())
}

fn note(config: &Path, key: &str) -> io::Result<()> {
    let begin = if fs::read(config)?.last().is_none_or(|byte| *byte == b'\n') { "" } else { "\n" };
    // In one piece: another process may be doing the same.
    OpenOptions::new().append(true).open(config)?.write_all(format!("{begin}{COMMENT}{key}\n").as_bytes())
}

type OnLearn = Box<dyn Fn(&str) + Send + Sync>;

/// The host key of a guest, as far as it is known.
pub(super) struct HostKey {
    known: Mutex<Option<String>>,
    note_in: Option<PathBuf>,
    on_learn: Option<OnLearn>,
}

impl HostKey {
    /// Returns the key that is known, or is to be learned, and then noted in that file.
    pub(super) fn new(known: Option<String>, note_in: Option<PathBuf>, on_learn: Option<OnLearn>) -> Self {
        let noted = note_in.as_deref().and_then(noted);
        Self { known: Mutex::new(noted.or(known)), note_in, on_learn }
    }

    /// Returns the key, if it is known.
    pub(super) fn known(&self) -> Option<String> {
        self.known.lock().ok()?.clone()
    }

    /// Whether a guest that shows this key may be the one; if none is known yet, it is.
    pub(super) fn accepts(&self, key: &str) -> bool {
        let Ok(mut known) = self.known.lock() else { return false };
        if let Some(known) = &*known {
            return known == key;
        }
        *known = Some(key.to_owned());
        if let Some(config) = &self.note_in
            && let Err(error) = note(config, key)
        {
            tracing::warn!("the host key cannot be noted in '{}': {error}", config.display());
        }
        if let Some(learned) = &self.on_learn {
            learned(key);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDz0bLB8V/XJLFWOhCRWQ0EO2dIySyOUNTmbwnxMBBvR";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn the_first_key_is_pinned_in_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config");
        fs::write(&config, "image = \"x\"").expect("written");
        let key = HostKey::new(None, Some(config.clone()), None);
        assert!(key.accepts(ONE) && key.accepts(ONE) && !key.accepts(OTHER));
        assert_eq!(fs::read_to_string(&config).expect("there"), format!("image = \"x\"\n{COMMENT}{ONE}\n"));
        let later = HostKey::new(None, Some(config), None);
        assert!(!later.accepts(OTHER) && later.accepts(ONE));
    }

    #[test]
    fn a_note_that_was_cut_off_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config");
        fs::write(&config, format!("{COMMENT}{}", &ONE[..40])).expect("written");
        assert_eq!(noted(&config), None);
    }
}
