use super::*;

/// An appliance of a made-up kernel, with the real tools of this machine.
fn assembled() -> assemble::Assembled {
    let kernel =
        kernel::Kernel { release: "6.1.0-test".into(), boot: BootProtocol::Pvh, bytes: b"kernel".to_vec() };
    let tools = tools::collect(Path::new("/")).unwrap();
    assemble::assemble(kernel, modules::Selection::default(), tools).unwrap()
}

fn written(parent: &Path, name: &str) -> Appliance {
    write(&assembled(), &parent.join(name)).unwrap();
    Appliance::open(parent.join(name)).unwrap()
}

/// Makes the appliance look like one of another version.
fn age(appliance: &Appliance) {
    let mut description = appliance.description.clone();
    description.guest = "another".into();
    let text = serde_json::to_vec(&description).unwrap();
    fs::write(appliance.folder.join(DESCRIPTION), text).unwrap();
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let (one, two) = (assembled(), assembled());
    assert!(one.initramfs == two.initramfs);
    assert_eq!(one.description, two.description);
}

#[test]
fn the_initramfs_has_what_the_guest_needs() {
    let assembled = assembled();
    let mut rest: &[u8] = &assembled.initramfs;
    let mut names = Vec::new();
    loop {
        let reader = cpio::NewcReader::new(rest).unwrap();
        if reader.entry().is_trailer() {
            break;
        }
        names.push(reader.entry().name().to_owned());
        rest = reader.to_writer(std::io::sink()).unwrap();
    }
    for name in
        ["init", "appliance.json", "dev/console", "usr/sbin/mke2fs", "usr/sbin/mkfs.ext4", "lib64", "image"]
    {
        assert!(names.iter().any(|other| other == name), "{name}");
    }
    for file in &assembled.description.files {
        let name = file.path.strip_prefix("/").unwrap().to_str().unwrap();
        assert!(names.iter().any(|other| other == name), "{name} is described");
    }
}

#[test]
fn writing_replaces_an_appliance_and_nothing_else() {
    let parent = tempfile::tempdir().unwrap();
    let first = written(parent.path(), "appliance");
    fs::write(first.folder.join("stale"), "").unwrap();
    let second = written(parent.path(), "appliance");
    assert!(!second.folder.join("stale").exists());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "nothing temporary is left");

    let other = parent.path().join("documents");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis"), "").unwrap();
    assert_eq!(write(&assembled(), &other).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(other.join("thesis").exists());
}

#[test]
fn the_first_that_fits_is_found() {
    let parent = tempfile::tempdir().unwrap();
    let (old, new) = (written(parent.path(), "old"), written(parent.path(), "new"));
    age(&old);
    let mut locations = Locations::below(parent.path());
    locations.appliances = vec![parent.path().join("absent"), old.folder, new.folder.clone()];
    assert_eq!(find(&locations).unwrap(), new);
}

#[test]
fn a_named_one_must_fit() {
    let parent = tempfile::tempdir().unwrap();
    let good = written(parent.path(), "good");
    let mut locations = Locations::below(parent.path());
    locations.appliances = vec![good.folder.clone()];
    locations.appliance = Some(parent.path().join("absent"));
    assert_eq!(find(&locations).unwrap_err().kind(), ErrorKind::ApplianceNotFound);
    let old = written(parent.path(), "old");
    age(&old);
    locations.appliance = Some(old.folder);
    assert_eq!(find(&locations).unwrap_err().kind(), ErrorKind::ApplianceInvalid);
    locations.appliance = Some(good.folder.clone());
    assert_eq!(find(&locations).unwrap(), good);
}

#[test]
fn a_broken_appliance_says_what_is_missing() {
    let parent = tempfile::tempdir().unwrap();
    let appliance = written(parent.path(), "appliance");
    fs::remove_file(&appliance.kernel).unwrap();
    let error = Appliance::open(&appliance.folder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApplianceInvalid);
    assert!(error.report().contains("kernel"));
    fs::write(appliance.folder.join(DESCRIPTION), "{").unwrap();
    assert_eq!(Appliance::open(&appliance.folder).unwrap_err().kind(), ErrorKind::ApplianceInvalid);
}
