//! Links that lead out of the destination: they are made when all else is, as by GNU tar, so that nothing of the
//! archive goes through them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::archive::{Kind, Member, Result};

use super::placement::Places;

/// The members that wait, in the order of the archive.
#[derive(Debug, Default)]
pub(super) struct Later {
    members: Vec<(PathBuf, Member)>,
    paths: HashSet<PathBuf>,
}

impl Later {
    /// Whether a member must wait.
    pub(super) fn must_wait(&self, member: &Member, places: &Places) -> Result<bool> {
        Ok(match &member.kind {
            Kind::Link(target) => leads_out(target),
            Kind::HardLink(target) => self.paths.contains(&places.path(target)?),
            _ => false,
        })
    }

    pub(super) fn add(&mut self, path: PathBuf, member: Member) {
        self.forget(&path);
        self.paths.insert(path.clone());
        self.members.push((path, member));
    }

    /// Something else of the archive takes that place.
    pub(super) fn forget(&mut self, path: &Path) {
        if self.paths.remove(path) {
            self.members.retain(|(other, _)| other != path);
        }
    }

    pub(super) fn take(&mut self) -> Vec<(PathBuf, Member)> {
        std::mem::take(self).members
    }
}

/// Whether a link may lead to a place that is not below its own directory.
fn leads_out(target: &[u8]) -> bool {
    target.starts_with(b"/") || target.split(|&byte| byte == b'/').any(|part| part == b"..")
}
