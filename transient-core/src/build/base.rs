//! What a build begins with: the image that it stands on, and the name that it takes.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::imagefile::Base;
use crate::store::Reservation;
use crate::{Error, ErrorKind, ImageSpec};

/// The base image's name among a build's files.
const FILE: &str = "base.qcow2";
/// How often in a row a base image may be removed between being found and being used.
const ATTEMPTS: u32 = 10;

/// A name that is taken, and what the disk stands on.
pub(super) struct Begun {
    pub(super) reservation: Reservation,
    /// The base image, whose bytes stay for as long as the build needs them; `None` is a new disk.
    pub(super) base: Option<PathBuf>,
}

/// Has the base image brought in, if there is one, and the name for the new one taken.
///
/// While either is waited for, the other is not held: two builds, each on the image that the other makes, would wait
/// for ever, and so would one on an image of its own name.
pub(super) fn begin(
    base: &Base,
    bring_in: impl Fn(&ImageSpec) -> Result<Image, Error>,
    reserve: impl Fn() -> Result<Reservation, Error>,
) -> Result<Begun, Error> {
    let Base::Image(spec) = base else { return Ok(Begun { reservation: reserve()?, base: None }) };
    for _ in 0..ATTEMPTS {
        let image = bring_in(spec)?;
        let reservation = reserve()?;
        if let Some(base) = pin(&image.path, reservation.folder()) {
            return Ok(Begun { reservation, base: Some(base) });
        }
    }
    let message = format!("the image '{}' is removed again and again", spec.name.as_str());
    Err(Error::new(ErrorKind::ImageNotFound, message))
}

/// Keeps an image's bytes, even if it is removed or replaced meanwhile; `None` when it was removed already.
fn pin(image: &Path, folder: &Path) -> Option<PathBuf> {
    let link = folder.join(FILE);
    match std::fs::hard_link(image, &link) {
        Ok(()) => Some(link),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            // For example another user's image. It works without, as long as nobody removes it.
            tracing::debug!("{} is used in place: {error}", image.display());
            Some(image.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::event::Reporter;
    use crate::process::qemu_img;
    use crate::{CancelToken, ImageName, Locations, Store};

    struct Fixture {
        _folder: tempfile::TempDir,
        store: Store,
        base: Base,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::new(Locations::below(folder.path()));
            let base = Base::Image("base,file=/nowhere".parse().expect("a spec"));
            Self { _folder: folder, store, base }
        }

        /// Makes the base image anew, as bringing it in does.
        fn make(&self) -> Image {
            let path = self.store.locations().backend.join("base");
            qemu_img::create_empty(&path, 1 << 20, &CancelToken::new()).expect("made");
            self.store.image(&ImageName::new("base").expect("a name")).expect("readable").expect("there")
        }

        fn reserve(&self) -> Result<Reservation, Error> {
            let name = ImageName::new("new").expect("a name");
            self.store.reserve(&name, None, &Reporter::channel().0, &CancelToken::new())
        }
    }

    #[test]
    fn a_base_image_that_is_removed_meanwhile_is_brought_in_again() {
        let fixture = Fixture::new();
        drop(fixture.reserve().expect("the folders are made"));
        let brought = Cell::new(0);
        let bring_in = |_: &ImageSpec| {
            brought.set(brought.get() + 1);
            Ok(fixture.make())
        };
        let reserve = || {
            if brought.get() < 3 {
                std::fs::remove_file(fixture.store.locations().backend.join("base")).expect("removed");
            }
            fixture.reserve()
        };
        let begun = begin(&fixture.base, bring_in, reserve).expect("at last");
        assert_eq!(brought.get(), 3);
        // From now on it stays, whatever becomes of its name.
        std::fs::remove_file(fixture.store.locations().backend.join("base")).expect("removed");
        assert!(begun.base.expect("pinned").exists());
    }

    #[test]
    fn it_is_not_brought_in_for_ever() {
        let fixture = Fixture::new();
        drop(fixture.reserve().expect("the folders are made"));
        let reserve = || {
            std::fs::remove_file(fixture.store.locations().backend.join("base")).expect("removed");
            fixture.reserve()
        };
        let result = begin(&fixture.base, |_| Ok(fixture.make()), reserve);
        assert_eq!(result.err().expect("given up").kind(), ErrorKind::ImageNotFound);
    }

    #[test]
    fn the_name_is_free_while_the_base_image_is_brought_in() {
        let fixture = Fixture::new();
        drop(fixture.reserve().expect("the folders are made"));
        let bring_in = |_: &ImageSpec| {
            drop(fixture.reserve().expect("free"));
            Ok(fixture.make())
        };
        begin(&fixture.base, bring_in, || fixture.reserve()).expect("begun");
    }
}
