//! Owners, modes and extended attributes of what was made.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags, fchmod, fchown};
use rustix::io::Errno;

use super::Site;
use super::extract::Extractor;
use super::make::{Error, Folder, timestamps};
use crate::archive::{Kind, Member};
use crate::inside;

/// The bits that lend the rights of a file's owner and group.
pub(super) const LENDING: u32 = 0o6000;

impl Extractor {
    /// Gives a file or directory its owner and group; returns whether it has them.
    pub(super) fn own(&self, member: &Member, file: impl AsFd) -> Result<bool, Error> {
        let (owner, group) = (Uid::from_raw(member.owner), Gid::from_raw(member.group));
        self.owned(fchown(file, Some(owner), Some(group)))
    }

    /// On the host, owners are not for everybody to give.
    fn owned(&self, given: rustix::io::Result<()>) -> Result<bool, Error> {
        match given {
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) if self.site == Site::Host => Ok(false),
            given => Ok(given.map(|()| true)?),
        }
    }

    pub(super) fn describe(
        &mut self,
        member: &Member,
        file: &OwnedFd,
        gives_group: bool,
        path: &Path,
    ) -> Result<(), Error> {
        match self.site {
            Site::Host => {
                let lending = if self.own(member, file)? { 0 } else { LENDING };
                fchmod(file, Mode::from_raw_mode(member.mode & !lending))?;
            }
            // Files that are made belong to root, and have their mode but for the special bits.
            Site::Image => {
                if member.owner != 0 || member.group != 0 || gives_group {
                    self.own(member, file)?;
                }
                if member.mode & !0o777 != 0 {
                    fchmod(file, Mode::from_raw_mode(member.mode))?;
                }
            }
        }
        // After the owner, for a change of that takes capabilities away.
        self.set_attributes(path, &member.attributes, |name, value| {
            rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
        })
    }

    pub(super) fn describe_special(
        &mut self,
        member: &Member,
        folder: &Folder,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), Error> {
        let on_host = self.site == Site::Host;
        if on_host || member.owner != 0 || member.group != 0 || folder.gives_group {
            let (owner, group) = (Some(Uid::from_raw(member.owner)), Some(Gid::from_raw(member.group)));
            let given = rustix::fs::chownat(&folder.file, name, owner, group, AtFlags::SYMLINK_NOFOLLOW);
            self.owned(given)?;
        }
        if (on_host || member.mode & !0o777 != 0) && !matches!(member.kind, Kind::Link(_)) {
            let mode = Mode::from_raw_mode(member.mode & !LENDING);
            rustix::fs::chmodat(&folder.file, name, mode, AtFlags::empty())?;
        }
        if !member.attributes.is_empty() {
            let place = inside::path_in(&folder.file, name);
            self.set_attributes(path, &member.attributes, |attribute, value| {
                rustix::fs::lsetxattr(&place, attribute, value, XattrFlags::empty())
            })?;
        }
        let times = timestamps(member.modified);
        Ok(rustix::fs::utimensat(&folder.file, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn set_attributes(
        &mut self,
        path: &Path,
        attributes: &BTreeMap<Vec<u8>, Vec<u8>>,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        let mut lost = None;
        for (name, value) in attributes {
            match set(OsStr::from_bytes(name), value) {
                Ok(()) => {}
                // The filesystem, or the kind of file, cannot have this one.
                Err(error @ (Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL)) => lost = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(error) = lost {
            self.notes.lost_attributes(path, error.into());
        }
        Ok(())
    }
}
