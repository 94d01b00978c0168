//! Downloads that break, and images that were cut short.

use std::fs;

use snapbox::{assert_data_eq, str};

use crate::fixture::random;
use crate::harness::{Sandbox, host};
use crate::server::{Asked, Reply, Server};

const LENGTH: usize = 2 << 20;

/// A raw disk, compressed by xz.
fn packed(sandbox: &Sandbox) -> Vec<u8> {
    let path = sandbox.write("disk", random(LENGTH));
    host(["xz", "-0", "--keep", path.to_str().unwrap()]);
    fs::read(sandbox.path("disk.xz")).unwrap()
}

/// Fails unless the image is the disk.
#[track_caller]
fn is_whole(sandbox: &Sandbox, name: &str) {
    let image = sandbox.backend().join(name);
    let disk = sandbox.path("disk");
    let (image, disk) = (image.to_str().unwrap(), disk.to_str().unwrap());
    host(["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", disk, image]);
    assert!(sandbox.leftovers().is_empty());
}

fn pull(sandbox: &Sandbox, name: &str, server: &Server) -> crate::harness::Outcome {
    sandbox.run(["image", "pull", &format!("{name},http={}", server.url("/"))])
}

#[test]
fn cut_at_every_tenth_and_resumed() {
    let sandbox = Sandbox::new();
    let content = packed(&sandbox);
    let server = Server::start(move |asked| {
        let reply = Reply::ok(content.clone()).ranges().header("ETag", "\"one\"");
        // Each answer but the last brings another tenth.
        if asked.number < 10 { reply.cut_after(content.len() / 10) } else { reply }
    });
    let outcome = pull(&sandbox, "new", &server).exits(0);
    assert_eq!(server.asked().len(), 10, "{outcome:#?}");
    let resumed = |asked: &Asked| asked.header("range").is_some();
    assert!(server.asked()[1..].iter().all(resumed), "not from the beginning");
    is_whole(&sandbox, "new");
}

#[test]
fn cut_at_every_tenth_by_a_server_without_ranges() {
    let sandbox = Sandbox::new();
    let content = packed(&sandbox);
    let server = Server::start(move |asked| {
        let reply = Reply::ok(content.clone()).header("ETag", "\"one\"");
        if asked.number < 10 { reply.cut_after(asked.number * content.len() / 10) } else { reply }
    });
    let _ = pull(&sandbox, "new", &server).exits(0);
    assert_eq!(server.asked().len(), 10);
    is_whole(&sandbox, "new");
}

/// From the same tenth on, nothing more ever comes.
#[test]
fn cut_for_good_at_every_tenth() {
    let sandbox = Sandbox::new();
    let content = packed(&sandbox);
    std::thread::scope(|scope| {
        for tenth in 0..10 {
            let (sandbox, content) = (&sandbox, content.clone());
            scope.spawn(move || {
                let server = Server::start(move |asked| {
                    let reply = Reply::ok(content.clone()).header("ETag", "\"one\"");
                    // After six times in a row, it is given up; the next attempt gets all.
                    if asked.number > 6 { reply } else { reply.cut_after(tenth * content.len() / 10) }
                });
                let name = format!("new{tenth}");
                let outcome = pull(sandbox, &name, &server).exits(1);
                let words = outcome.stderr.replace(&server.url("/"), "[URL]").replace(&name, "[NAME]");
                assert!(words.contains("error: cannot download '[URL]': "), "{outcome:#?}");
                assert!(!sandbox.backend().join(&name).exists());
                assert_eq!(server.asked().len(), 6);
                let _ = pull(sandbox, &name, &server).exits(0);
            });
        }
    });
    for tenth in 0..10 {
        is_whole(&sandbox, &format!("new{tenth}"));
    }
}

#[test]
fn an_image_that_was_cut_short() {
    let sandbox = Sandbox::new();
    packed(&sandbox);
    let (disk, image) = (sandbox.path("disk"), sandbox.path("disk.qcow2"));
    let (disk, image) = (disk.to_str().unwrap(), image.to_str().unwrap());
    host(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image]);
    let whole = fs::read(image).unwrap();
    for tenth in 0..10 {
        sandbox.write("cut", &whole[..tenth * whole.len() / 10]);
        let outcome = sandbox.run(["image", "pull", "new,file=cut"]).exits(1);
        match tenth {
            0 => assert_data_eq!(
                &outcome.stderr,
                str![[r#"
note: Unable to find image 'new' in backend
error: the image file 'cut' is refused: it is empty

"#]]
            ),
            5 => assert_data_eq!(
                &outcome.stderr,
                str![[r#"
note: Unable to find image 'new' in backend
error: the image file 'cut' is refused: a part of its data lies beyond the end of the file
hint: it is damaged or cut short: get it again

"#]]
            ),
            _ => assert!(outcome.stderr.contains("error: the image file 'cut' is refused: "), "{outcome:#?}"),
        }
        assert!(sandbox.leftovers().is_empty() && !sandbox.backend().join("new").exists());
    }
    let _ = sandbox.run(["image", "pull", "new,file=disk.qcow2"]).exits(0);
    is_whole(&sandbox, "new");
}

#[test]
fn a_compressed_image_that_was_cut_short() {
    let sandbox = Sandbox::new();
    let whole = packed(&sandbox);
    sandbox.write("cut", &whole[..whole.len() / 2]);
    let outcome = sandbox.run(["image", "pull", "new,file=cut"]).exits(1);
    assert_data_eq!(
        &outcome.stderr,
        str![[r#"
note: Unable to find image 'new' in backend
error: the image file 'cut' cannot be decompressed: premature eof
hint: it is damaged or cut short; get it again

"#]]
    );
    assert!(sandbox.leftovers().is_empty() && !sandbox.backend().join("new").exists());
    let _ = sandbox.run(["image", "pull", "new,file=disk.xz"]).exits(0);
    is_whole(&sandbox, "new");
}
