//! Completions and man pages.

use std::fs;

use crate::harness::Sandbox;

#[test]
fn completions() {
    for (shell, mark) in
        [("bash", "complete -F"), ("zsh", "#compdef transient"), ("fish", "complete -c transient")]
    {
        let outcome = Sandbox::new().run(["completions", shell]).exits(0);
        assert!(outcome.stdout.contains(mark), "{shell}");
        assert!(outcome.stdout.contains("qemu-bin-name"), "{shell} knows the flags of builds");
    }
}

#[test]
fn man_pages() {
    let sandbox = Sandbox::new();
    let _ = sandbox.run(["man", "man/man1"]).exits(0);
    for page in
        ["transient", "transient-image", "transient-image-build", "transient-image-ls", "transient-image-rm"]
    {
        let text = fs::read_to_string(sandbox.path(format!("man/man1/{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
}
