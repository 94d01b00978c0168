use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use super::*;
use crate::CancelToken;
use crate::process::qemu_img;
use crate::store::tests::{Fixture, disk, name};

const SPEC: &str = "web,http=https://host/disk.img";

fn making() -> Making {
    let spec = SPEC.parse().expect("a spec");
    Making::pulled(&spec, Format::Vmdk, Some(Compression::Xz), None, Instant::now())
}

impl Fixture {
    /// Commits an image that tells how it was made.
    fn made(&self, image: &str, size: u64) -> PathBuf {
        let mut reservation = self.reserve(image).expect("free");
        reservation.tell(making());
        let file = disk(&reservation, size);
        reservation.commit(&file).expect("committed").path
    }

    fn record(&self, encoded: &str) -> PathBuf {
        self.backend().join(".provenance").join(encoded)
    }

    fn provenance(&self, image: &str) -> Option<Provenance> {
        let inspection = self.store.inspect(&name(image)).expect("there");
        assert_eq!(inspection.warnings, [""; 0]);
        inspection.provenance
    }

    /// Returns the one warning of an image of which nothing is known.
    fn warning(&self, image: &str) -> String {
        let inspection = self.store.inspect(&name(image)).expect("there");
        assert_eq!((inspection.provenance, inspection.warnings.len()), (None, 1));
        inspection.warnings[0].clone()
    }
}

#[test]
fn it_is_told_with_the_image_and_is_no_image() {
    let fixture = Fixture::new();
    fixture.made("a/b", 1 << 20);
    let provenance = fixture.provenance("a/b").expect("known");
    assert_eq!((provenance.id.len(), provenance.version.as_str()), (32, env!("CARGO_PKG_VERSION")));
    let MadeBy::Pull { spec, format, compression, checksum } = &provenance.made_by else {
        panic!("{provenance:?}")
    };
    assert_eq!((spec.as_str(), format.as_str()), (SPEC, "vmdk"));
    assert_eq!((compression.as_deref(), checksum.as_deref()), (Some("xz"), None));
    assert_eq!(provenance.steps[0].instruction, format!("PULL {SPEC}"));
    assert!(provenance.created.starts_with("20") && provenance.created.ends_with('Z'), "{provenance:?}");
    assert!(fixture.record("a%2Fb").is_file());
    let listing = fixture.store.images().expect("readable");
    assert_eq!((listing.images.len(), listing.warnings.len()), (1, 0));
    assert!(fixture.store.image(&name(".provenance")).expect("readable").is_none());
    assert!(fixture.working().is_empty());
}

#[test]
fn it_goes_with_the_image() {
    let fixture = Fixture::new();
    fixture.made("a", 1 << 20);
    fixture.store.remove(&[name("a")], false).expect("removed");
    assert!(!fixture.record("a").exists());
    // What says nothing of itself takes the place of what did.
    fixture.made("a", 1 << 20);
    let reservation = fixture.reserve("a").expect("free");
    let file = disk(&reservation, 1 << 20);
    reservation.commit(&file).expect("committed");
    assert!(!fixture.record("a").exists());
    assert_eq!(fixture.provenance("a"), None);
}

/// Release 0.25 removes and makes images, and knows of no records.
#[test]
fn nothing_is_known_of_a_file_that_another_program_put_there() {
    let fixture = Fixture::new();
    let path = fixture.made("a", 1 << 20);
    let known = fixture.provenance("a").expect("known");
    let metadata = fs::metadata(&path).expect("there");
    let replace = |size| {
        fs::remove_file(&path).expect("removed");
        qemu_img::create_empty(&path, size, &CancelToken::new()).expect("made");
        fs::metadata(&path).expect("there")
    };
    // The same length at another time, and another length at the same time.
    let same_length = replace(1 << 20);
    assert_eq!(same_length.len(), metadata.len());
    assert_eq!(fixture.provenance("a"), None);
    fs::write(
        &path,
        fs::read(&path)
            .map(|mut bytes| {
                bytes.push(0);
                bytes
            })
            .expect("read"),
    )
    .expect("written");
    let file = fs::File::options().write(true).open(&path).expect("there");
    file.set_modified(metadata.modified().expect("known")).expect("set");
    assert_eq!(fixture.provenance("a"), None);
    // The image as it was.
    file.set_len(metadata.len()).expect("cut");
    file.set_modified(metadata.modified().expect("known")).expect("set");
    assert_eq!(fixture.provenance("a"), Some(known));
}

#[test]
fn what_cannot_be_read_is_a_warning() {
    let fixture = Fixture::new();
    fixture.made("a", 1 << 20);
    let path = fixture.record("a");
    let whole = fs::read_to_string(&path).expect("readable");
    for (text, reason) in [
        (String::new(), "it is damaged"),
        ("no record".to_owned(), "it is damaged"),
        (whole[..whole.len() / 2].to_owned(), "it is damaged"),
        (whole.replace("\"format\": 1", "\"format\": 2"), "it has the form 2"),
        (whole.replace("\"name\": \"a\"", "\"name\": \"\\u001bb\""), "it is about an image '\\u{1b}b'"),
        (whole.replace("\"pull\"", "\"magic\""), "it is damaged"),
        ("[".repeat(100_000), "it is damaged"),
        (" ".repeat(5 << 20), "it is too long"),
    ] {
        fs::write(&path, text).expect("written");
        let warning = fixture.warning("a");
        assert!(warning.contains("'") && warning.contains(reason), "{warning}");
    }
    fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("linked");
    fixture.warning("a");
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    assert!(fixture.warning("a").contains("no regular file"));
    // Nor does it keep an image from being listed, replaced or removed.
    assert_eq!(fixture.store.images().expect("readable").images.len(), 1);
    fixture.made("a", 1 << 20);
    fixture.store.remove(&[name("a")], false).expect("removed");
}

#[test]
fn a_tag_has_the_same() {
    let fixture = Fixture::new();
    let path = fixture.made("a", 1 << 20);
    fs::copy(&path, fixture.backend().join("b")).expect("copied");
    fixture.store.copy_provenance(&name("a"), &name("b")).expect("copied");
    assert_eq!(fixture.provenance("b"), fixture.provenance("a"));
    assert!(fixture.store.stray_provenance().is_empty());
    fs::remove_file(fixture.backend().join("b")).expect("removed");
    fs::File::options().read(true).open(&path).expect("there").set_modified(SystemTime::now()).expect("set");
    let mut stray = fixture.store.stray_provenance();
    stray.sort();
    assert_eq!(stray, [fixture.record("a"), fixture.record("b")]);
    // Of what nothing is known, the copy knows nothing either.
    fs::copy(&path, fixture.backend().join("b")).expect("copied");
    fixture.store.copy_provenance(&name("a"), &name("b")).expect("done");
    assert!(!fixture.record("b").exists());
    assert!(fixture.working().is_empty());
}

#[test]
fn a_record_is_never_too_long_to_be_read() {
    let fixture = Fixture::new();
    let mut reservation = fixture.reserve("a").expect("free");
    let mut making = making();
    let step =
        |number: u32| HistoryStep::now("a", format!("RUN {number} {}", "x".repeat(1 << 20)), Instant::now());
    making.steps.extend((0..9).map(step));
    reservation.tell(making);
    let file = disk(&reservation, 1 << 20);
    reservation.commit(&file).expect("committed");
    let steps = fixture.provenance("a").expect("known").steps;
    assert!(steps[0].instruction.starts_with("RUN") && steps.len() < 9);
    assert!(steps.last().expect("one").instruction.starts_with("RUN 8 "), "the newest stay");
}

#[test]
fn a_local_image_tells_nothing() {
    let fixture = Fixture::new();
    let folder = fixture.backend().parent().expect("a folder").join("local");
    fs::create_dir(&folder).expect("made");
    let reporter = crate::event::Reporter::channel().0;
    let reserved = fixture.store.reserve(&name("a"), Some(&folder), &reporter, &CancelToken::new());
    let mut reservation = reserved.expect("free");
    reservation.tell(making());
    let file = disk(&reservation, 1 << 20);
    reservation.commit(&file).expect("committed");
    assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1);
    assert!(!fixture.backend().exists());
}

#[test]
fn times_are_as_calendars_have_them() {
    assert_eq!(rfc3339(1_700_000_000, 5_000_000), "2023-11-14T22:13:20.005Z");
    assert_eq!(rfc3339(-1, 0), "1969-12-31T23:59:59.000Z");
    assert_eq!(rfc3339(i64::MAX, u32::MAX), "1970-01-01T00:00:00.000Z");
}
