//! Small filesystems of the tests' own.

use std::fs;
use std::process::Command;

use crate::harness::{Outcome, Sandbox};

/// Returns how a program that mounts is run here: in a namespace if it can be, which no chroot allows; and
/// as root, in a user namespace, or else by sudo.
fn with_mounts() -> &'static [&'static str] {
    let ways: [&[&str]; 4] = [
        &["unshare", "--mount"],
        &["unshare", "--map-root-user", "--mount"],
        &["env"],
        &["sudo", "-n", "--preserve-env", "unshare", "--mount"],
    ];
    let works = |way: &&&[&str]| {
        let mut mount = Command::new(way[0]);
        mount.args(&way[1..]).args(["sh", "-c", "mount -t tmpfs none /mnt && umount /mnt"]);
        mount.output().is_ok_and(|output| output.status.success())
    };
    ways.iter().find(works).expect("this test mounts: root, user namespaces or sudo is needed")
}

/// What becomes of a command on a filesystem of its own.
pub(crate) struct Attempts<'a> {
    /// The size of the filesystem, as tmpfs takes it.
    pub(crate) size: &'a str,
    /// A script that prepares it, run in the sandbox; the filesystem is `small`.
    pub(crate) before: &'a str,
    /// A script that removes the fault.
    pub(crate) mend: &'a str,
}

/// What came of them.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) failed: Outcome,
    /// What lies in the filesystem after the first attempt, one path a line.
    pub(crate) left: String,
    pub(crate) again: Outcome,
    /// What lies there after the second.
    pub(crate) there: String,
}

/// The program is `"$@"`.
const SCRIPT: &str = "\
mkdir small && mount -t tmpfs -o size=\"$SIZE\" none small || exit 99
trap 'umount small' EXIT
# How images were made is beside them, and layers are for later: see the tests of `image inspect` and of the cache.
list() { find small -mindepth 1 \\( -path small/.provenance -o -path small/cache \\) -prune -o ! -name .working -print | sort; }
attempt() { status=0; \"$@\" > stdout 2> stderr || status=$?; echo \"$status\" > status; }
eval \"$BEFORE\"
attempt \"$@\"
list > left
mkdir first && mv stdout stderr status first
eval \"$MEND\"
attempt \"$@\"
list > there
";

impl Attempts<'_> {
    /// Runs the program with the fault, and without it.
    #[track_caller]
    pub(crate) fn of(&self, sandbox: &Sandbox, program: &Command) -> Attempted {
        let way = with_mounts();
        let output = Command::new(way[0])
            .args(&way[1..])
            .args(["sh", "-ec", SCRIPT, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .envs([("SIZE", self.size), ("BEFORE", self.before), ("MEND", self.mend)])
            .current_dir(sandbox.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "the script itself: {output:#?}");
        let read = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap();
        let attempt = |folder: &str| {
            let root = sandbox.path("").to_str().unwrap().trim_end_matches('/').to_owned();
            let text = |name: &str| read(&format!("{folder}{name}")).replace(&root, "[ROOT]");
            Outcome {
                code: text("status").trim().parse().ok(),
                stdout: text("stdout"),
                stderr: text("stderr"),
            }
        };
        Attempted { failed: attempt("first/"), left: read("left"), again: attempt(""), there: read("there") }
    }
}
