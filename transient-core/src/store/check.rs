//! Whether an image is whole.

use std::path::PathBuf;

use serde::Serialize;

use super::{Store, failure, listing, no_image};
use crate::image::header::{Format, Header};
use crate::process::qemu_img;
use crate::{CancelToken, Error, ImageName};

/// What was found out about an image's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageCheck {
    /// The image's name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Why it must not be used at all, a fragment such as "it is marked as corrupt". No more is then looked at.
    pub refusal: Option<String>,
    /// What can be done about the refusal.
    pub hint: Option<String>,
    /// How many places of it contradict one another: bytes of its disk are lost, or will be.
    pub corruptions: u64,
    /// How many clusters are taken by nothing: they waste space, and do no other harm.
    pub leaks: u64,
}

impl ImageCheck {
    /// Tells whether nothing is wrong with it.
    pub fn is_sound(&self) -> bool {
        self.refusal.is_none() && self.corruptions == 0 && self.leaks == 0
    }
}

pub(super) fn check(store: &Store, name: &ImageName, cancel: &CancelToken) -> Result<ImageCheck, Error> {
    let path = store.path_of(name);
    let file = if listing::is_hidden(name.encoded()) { None } else { listing::open(&path)? };
    let file = file.ok_or_else(|| no_image(name))?;
    let header = match Header::inspect(&file, cancel) {
        Ok(header) => header,
        Err(error) => {
            cancel.check()?;
            return Err(failure("cannot read", &path, error));
        }
    };
    let name = name.as_str().to_owned();
    let mut check = ImageCheck { name, path, refusal: None, hint: None, corruptions: 0, leaks: 0 };
    if header.format != Format::Qcow2 {
        check.refusal = Some(format!("it looks like {}, and is no qcow2 image", header.format.name()));
    } else if let Some(reason) = header.refusal() {
        check.refusal = Some(reason.to_owned());
        check.hint = header.hint().map(str::to_owned);
    } else {
        let found = qemu_img::check_open(&file, header.format, cancel)?;
        (check.corruptions, check.leaks) = (found.corruptions, found.leaks);
    }
    Ok(check)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use crate::store::tests::{Fixture, name};
    use crate::{CancelToken, ErrorKind};

    /// The place of a field of a header that names the refcount table.
    const REFCOUNTS: u64 = 48;

    fn writable(path: &std::path::Path) -> File {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("set");
        File::options().read(true).write(true).open(path).expect("there")
    }

    #[test]
    fn a_sound_image() {
        let fixture = Fixture::new();
        let path = fixture.image("a%2Fb", 1 << 20);
        let check = fixture.store.check(&name("a/b"), &CancelToken::new()).expect("checked");
        assert!(check.is_sound(), "{check:?}");
        assert_eq!((check.name.as_str(), check.path), ("a/b", path));
    }

    #[test]
    fn clusters_that_nothing_takes_are_leaks() {
        let fixture = Fixture::new();
        let file = writable(&fixture.image("a", 1 << 20));
        let mut place = [0; 8];
        // The first entry of the refcount table is the place of the first block of counts, of 16 bits each.
        file.read_exact_at(&mut place, REFCOUNTS).expect("read");
        let mut block = [0; 8];
        file.read_exact_at(&mut block, u64::from_be_bytes(place)).expect("read");
        let at = u64::from_be_bytes(block) + 2 * 5;
        file.write_all_at(&[0, 1], at).expect("written");
        file.set_len(6 << 16).expect("grown");
        let check = fixture.store.check(&name("a"), &CancelToken::new()).expect("checked");
        assert_eq!((check.leaks, check.corruptions, check.is_sound()), (1, 0, false));
    }

    #[test]
    fn counts_that_are_too_small_are_corruptions() {
        let fixture = Fixture::new();
        let file = writable(&fixture.image("a", 1 << 20));
        let (mut table, mut block) = ([0; 8], [0; 8]);
        file.read_exact_at(&mut table, REFCOUNTS).expect("read");
        file.read_exact_at(&mut block, u64::from_be_bytes(table)).expect("read");
        file.write_all_at(&[0, 0], u64::from_be_bytes(block)).expect("written");
        let check = fixture.store.check(&name("a"), &CancelToken::new()).expect("checked");
        assert!(check.corruptions > 0 && !check.is_sound(), "{check:?}");
    }

    #[test]
    fn what_qemu_must_not_open_is_refused_before() {
        let fixture = Fixture::new();
        let base = fixture.image("base", 1 << 20);
        let overlay = fixture.backend().join("a");
        crate::process::qemu_img::create_overlay(&overlay, &base, &CancelToken::new()).expect("made");
        let check = fixture.store.check(&name("a"), &CancelToken::new()).expect("checked");
        assert!(check.refusal.is_some_and(|reason| reason.contains("backing file")) && check.hint.is_some());
        fs::write(fixture.backend().join("b"), [7; 1 << 16]).expect("written");
        let check = fixture.store.check(&name("b"), &CancelToken::new()).expect("checked");
        assert_eq!(check.refusal.as_deref(), Some("it looks like raw, and is no qcow2 image"));
        let error = fixture.store.check(&name("c"), &CancelToken::new()).expect_err("missing");
        assert_eq!(error.to_string(), "No image in backend with name 'c'");
        let error = fixture.store.check(&name(".working"), &CancelToken::new()).expect_err("hidden");
        assert_eq!(error.kind(), ErrorKind::ImageNotFound);
        let cancel = CancelToken::new();
        cancel.cancel();
        let error = fixture.store.check(&name("base"), &cancel).expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
