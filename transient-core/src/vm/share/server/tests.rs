//! A folder that is shared with a hostile guest.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use proptest::prelude::*;
use russh_sftp::client::SftpSession;

use super::*;

fn share(folder: &Path, read_only: bool) -> Share {
    let folder = SharedFolder { host: folder.to_owned(), guest: "/mnt".to_owned(), read_only };
    Share::open(&folder).expect("a folder")
}

/// A client of a shared folder.
async fn client(folder: &Path, read_only: bool) -> SftpSession {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    russh_sftp::server::run(theirs, share(folder, read_only)).await;
    SftpSession::new(ours).await.expect("a session")
}

/// A folder to share, with a secret beside it.
fn folders() -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().expect("a folder");
    fs::write(parent.path().join("secret"), "secret").expect("written");
    let shared = parent.path().join("shared");
    fs::create_dir(&shared).expect("made");
    (parent, shared)
}

#[tokio::test(flavor = "current_thread")]
async fn files_are_read_and_written() {
    let (_parent, shared) = folders();
    let sftp = client(&shared, false).await;
    sftp.create_dir("/sub").await.expect("made");
    sftp.create("/sub/a").await.expect("made");
    sftp.write("/sub/a", &vec![7; 300_000]).await.expect("written");
    assert_eq!(fs::read(shared.join("sub/a")).expect("there"), vec![7; 300_000]);
    assert_eq!(sftp.read("/sub/a").await.expect("read").len(), 300_000);
    sftp.rename("/sub/a", "/b").await.expect("renamed");
    assert!(shared.join("b").exists());
    let names: Vec<String> = sftp.read_dir("/").await.expect("read").map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    sftp.remove_file("/b").await.expect("removed");
    sftp.remove_dir("/sub").await.expect("removed");
    assert_eq!(fs::read_dir(&shared).expect("readable").count(), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_leads_out() {
    let (parent, shared) = folders();
    symlink(parent.path().join("secret"), shared.join("absolute")).expect("linked");
    symlink("../secret", shared.join("relative")).expect("linked");
    symlink("..", shared.join("up")).expect("linked");
    symlink("/proc/self/cwd", shared.join("magic")).expect("linked");
    let sftp = client(&shared, false).await;
    for path in
        ["../secret", "/../secret", "/absolute", "/relative", "/up/secret", "/up/up/../secret", "/magic/x"]
    {
        assert!(sftp.read(path).await.is_err(), "{path}");
        assert!(sftp.metadata(path).await.is_err(), "{path}");
        assert!(sftp.remove_file(format!("{path}/../secret")).await.is_err(), "{path}");
    }
    // What is written lands inside, where the kernel takes the folder for the root.
    let _ = sftp.write("/up/new", b"x").await;
    assert_eq!(fs::read_to_string(parent.path().join("secret")).expect("there"), "secret");
    assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 2);
}

#[tokio::test(flavor = "current_thread")]
async fn read_only_is_read_only() {
    let (_parent, shared) = folders();
    fs::write(shared.join("a"), "a").expect("written");
    let before = fs::metadata(shared.join("a")).expect("there");
    let sftp = client(&shared, true).await;
    assert_eq!(sftp.read("/a").await.expect("readable"), b"a");
    assert!(sftp.write("/a", b"b").await.is_err());
    assert!(sftp.create("/b").await.is_err());
    assert!(sftp.create_dir("/c").await.is_err());
    assert!(sftp.rename("/a", "/b").await.is_err());
    assert!(sftp.symlink("/d", "/a").await.is_err());
    assert!(sftp.remove_file("/a").await.is_err());
    let attributes = FileAttributes { size: Some(0), permissions: Some(0), ..FileAttributes::empty() };
    assert!(sftp.set_metadata("/a", attributes).await.is_err());
    let after = fs::metadata(shared.join("a")).expect("there");
    assert_eq!(
        (before.mode(), before.len(), before.mtime_nsec()),
        (after.mode(), after.len(), after.mtime_nsec())
    );
    assert_eq!(fs::read_dir(&shared).expect("readable").count(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_pipe_stops_nobody_and_no_mode_gives_rights() {
    let (_parent, shared) = folders();
    rustix::fs::mknodat(rustix::fs::CWD, shared.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o666), 0)
        .expect("made");
    let sftp = client(&shared, false).await;
    assert!(sftp.read("/pipe").await.is_err());
    sftp.create("/tool").await.expect("made");
    let attributes = FileAttributes { permissions: Some(0o6755), ..FileAttributes::empty() };
    sftp.set_metadata("/tool", attributes).await.expect("set");
    assert_eq!(fs::metadata(shared.join("tool")).expect("there").mode() & 0o7777, 0o755);
}

proptest! {
    #[test]
    fn texts_of_any_bytes_are_no_panic(data in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut texts = Texts(&data);
        while texts.next().is_ok() {}
    }
}
