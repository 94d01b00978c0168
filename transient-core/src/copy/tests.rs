//! Copies into a disk and out of it again, in VMs.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::call::call;
use crate::{BuildOptions, ImageName, Store, build};

/// A small image, and a VM's disk that stands on it.
struct Bench {
    folder: tempfile::TempDir,
    locations: Locations,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let found = Locations::from_env().expect("an environment");
        let mut locations = Locations::below(folder.path());
        (locations.appliance, locations.appliances) = (found.appliance, found.appliances);
        let bench = Self { folder, locations };
        bench.write("root/etc/fstab", "# nothing but the root\n");
        bench
            .write("Imagefile", "FROM scratch\nDISK 128 MB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nCOPY . /\n");
        let mut options = BuildOptions::new(bench.at("root"), ImageName::new("small").expect("a name"));
        options.file = Some(bench.at("Imagefile"));
        let store = Store::new(bench.locations.clone());
        build(&store, &options, &mut |_| (), &CancelToken::new()).expect("built");
        let image = bench.image();
        qemu_img::create_overlay(&bench.at("disk"), &image, &CancelToken::new()).expect("made");
        bench
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().expect("a folder")).expect("made");
        fs::write(self.at(path), content).expect("written");
    }

    fn image(&self) -> PathBuf {
        self.locations.backend.join("small")
    }

    fn copy(
        &self,
        into: &[(&str, &str)],
        out: &[(&str, &str)],
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let into = into.iter().map(|(source, destination)| FileCopy {
            source: self.at(source),
            destination: destination.into(),
        });
        let out = out.iter().map(|(source, destination)| FileCopy {
            source: source.into(),
            destination: self.at(destination),
        });
        let copies = Copies { into: into.collect(), out: out.collect() };
        let disk = Disk { path: self.at("disk"), below: vec![self.image()], durable: false };
        call("test", listener, cancel, |reporter, cancel| {
            copy(disk, &copies, &VmOptions::default(), &self.locations, reporter, cancel)
        })
    }

    /// Fails unless the disk is whole.
    fn check(&self) {
        let checked =
            Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(self.at("disk")).status();
        assert!(checked.expect("qemu-img runs").success());
    }
}

/// What `cp -a` keeps.
fn describe(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.expect("an entry");
        let found = entry.metadata().expect("there");
        let content = if found.is_symlink() {
            format!("{:?}", fs::read_link(entry.path()).expect("a link"))
        } else if found.is_file() {
            blake3::hash(&fs::read(entry.path()).expect("readable")).to_string()
        } else {
            String::new()
        };
        let links = if found.is_dir() { 0 } else { found.nlink() };
        lines.push(format!(
            "{:?} {:o} {}:{} {}.{:09} {links} {content}",
            entry.path().strip_prefix(path).expect("below"),
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec()
        ));
    }
    lines
}

/// One of everything that anybody may make.
fn make_tree(bench: &Bench) {
    bench.write("tree/a/file", "some text");
    bench.write("tree/a/big", vec![7; 3 << 20]);
    bench.write(&format!("tree/{}/{}", "long".repeat(40), "name".repeat(50)), "x");
    bench.write("tree/line\nbreak", "");
    bench.write("tree/tool", "#!/bin/sh\n");
    fs::hard_link(bench.at("tree/a/file"), bench.at("tree/hard")).expect("linked");
    symlink("/etc/../nowhere", bench.at("tree/a/link")).expect("linked");
    File::create(bench.at("tree/hole")).expect("made").set_len(16 << 20).expect("grown");
    for (name, mode) in [("tree/tool", 0o4751), ("tree/a", 0o1770)] {
        fs::set_permissions(bench.at(name), fs::Permissions::from_mode(mode)).expect("set");
    }
}

#[test]
#[ignore = "takes half a minute"]
fn what_is_copied_into_a_disk_comes_out_of_it() {
    let bench = Bench::new();
    let cancel = CancelToken::new();
    make_tree(&bench);
    bench.write("one", "1");
    bench.write("two", "2");

    let mut progress = Vec::new();
    let mut listener = |event| {
        if let Event::Progress { task, done, total, finished: true } = event {
            progress.push((task, Some(done) == total));
        }
    };
    let into =
        [("tree", "/opt/new/name"), ("tree", "/etc"), ("one", "/both"), ("two", "/both"), ("tree/.", "/all")];
    bench.copy(&into, &[], &mut listener, &cancel).expect("copied");
    assert_eq!(progress.len(), into.len());
    assert!(progress.iter().all(|(task, whole)| *whole && task.starts_with("Copying ")), "{progress:?}");
    bench.check();

    let before = blake3::hash(&fs::read(bench.at("disk")).expect("readable"));
    fs::create_dir(bench.at("to")).expect("made");
    let out = [
        ("/opt/new/name", "named"),
        ("/etc", "to"),
        ("/etc/fstab", "to"),
        ("etc/fstab", "table"),
        ("/both/.", "both"),
        ("/all/.", "to"),
        ("/etc/tree/a/link", "link"),
    ];
    bench.copy(&[], &out, &mut |_| (), &cancel).expect("copied");
    let tree = describe(&bench.at("tree"));
    assert_eq!(describe(&bench.at("named")), tree);
    assert_eq!(describe(&bench.at("to/etc/tree")), tree);
    let all = describe(&bench.at("to"));
    assert!(tree.iter().all(|line| line.starts_with("\"\" ") || all.contains(line)));
    assert_eq!(fs::metadata(bench.at("named/hole")).expect("there").blocks(), 0);
    for (file, content) in
        [("to/fstab", "# nothing but the root\n"), ("table", "# nothing but the root\n"), ("both/one", "1")]
    {
        assert_eq!(fs::read_to_string(bench.at(file)).expect("there"), content);
    }
    assert_eq!(fs::read_link(bench.at("link")).expect("a link"), Path::new("/etc/../nowhere"));
    let after = blake3::hash(&fs::read(bench.at("disk")).expect("readable"));
    assert_eq!(before, after, "a disk that is only read stays as it is");
}

#[test]
#[ignore = "takes half a minute"]
fn a_copy_that_fails_is_named_and_leaves_a_whole_disk() {
    let bench = Bench::new();
    bench.write("good", "good");
    let cancel = CancelToken::new();
    let quiet = &mut |_| ();

    // The first is on the host before the second fails.
    let error =
        bench.copy(&[], &[("/etc/fstab", "kept"), ("/no/such", "x")], quiet, &cancel).expect_err("fails");
    assert_eq!(error.kind(), ErrorKind::StepFailed);
    assert!(error.report().starts_with("cannot copy /no/such in the VM to '"), "{}", error.report());
    assert!(error.report().contains("cannot find /no/such: No such file or directory"), "{}", error.report());
    assert!(bench.at("kept").exists() && !bench.at("x").exists());

    let error = bench.copy(&[("missing", "/")], &[], quiet, &cancel).expect_err("fails");
    assert_eq!(error.kind(), ErrorKind::InvalidSource);

    // Larger than the disk.
    bench.write("large", [7; 1 << 20].repeat(150));
    let error =
        bench.copy(&[("good", "/good"), ("large", "/large")], &[], quiet, &cancel).expect_err("fails");
    assert_eq!(error.kind(), ErrorKind::ImageFull, "{}", error.report());
    bench.check();

    // The host says that there is no place: what was asked for is a directory there.
    fs::create_dir_all(bench.at("to/fstab")).expect("made");
    let error =
        bench.copy(&[("good", "/better")], &[("/etc/fstab", "to")], quiet, &cancel).expect_err("fails");
    assert_eq!(error.kind(), ErrorKind::Io, "{}", error.report());
    bench.check();

    let to_cancel = CancelToken::new();
    let mut on_progress = |event| {
        if matches!(event, Event::Progress { .. }) {
            to_cancel.cancel();
        }
    };
    let error = bench.copy(&[("large", "/")], &[], &mut on_progress, &to_cancel).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.to_string().starts_with("cancelled while copying '"), "{error}");

    bench.copy(&[], &[("/good", "g"), ("/better", "b")], quiet, &cancel).expect("copied");
    assert_eq!(fs::read(bench.at("g")).expect("there"), fs::read(bench.at("b")).expect("there"));
    let left = fs::read_dir(&bench.locations.cache).expect("there").flatten();
    assert!(
        left.into_iter().all(|entry| !entry.file_name().as_encoded_bytes().starts_with(SCRATCH.as_bytes()))
    );
}
