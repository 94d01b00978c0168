//! A sandbox to run the program in: cleared environment, folders of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_transient");
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the library notes that KVM does not work, in its cache.
const VERDICT: &str = "kvm-does-not-work.json";
/// Where it saves builder VMs that have booted.
const BUILDERS: &str = "builders";

/// What outlives the tests.
fn shared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// A home, a backend and a VM store that vanish with it.
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        for folder in ["home", "tmp", "build", "cache"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let sandbox = Self { root };
        let _ = fs::copy(shared().join(VERDICT), sandbox.cache().join(VERDICT));
        fs::create_dir_all(shared().join(BUILDERS)).unwrap();
        symlink(shared().join(BUILDERS), sandbox.builders()).unwrap();
        sandbox
    }

    /// A sandbox in which no builder VM was saved.
    pub(crate) fn cold() -> Self {
        let sandbox = Self::new();
        fs::remove_file(sandbox.builders()).unwrap();
        sandbox
    }

    /// Returns the folder of the saved builder VMs, which the tests share.
    pub(crate) fn builders(&self) -> PathBuf {
        self.cache().join(BUILDERS)
    }

    /// Returns the folder of the cache, in which no other test has made layers.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Returns a path below the sandbox.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(below)
    }

    pub(crate) fn backend(&self) -> PathBuf {
        self.path("home/.local/share/transient/backend")
    }

    pub(crate) fn vmstore(&self) -> PathBuf {
        self.path("home/.local/share/transient/vmstore")
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes an empty image in the backend, by its name on disk.
    pub(crate) fn empty_image(&self, encoded: &str, size: &str) {
        fs::create_dir_all(self.backend()).unwrap();
        host(
            ["qemu-img", "create", "-q", "-f", "qcow2"]
                .map(OsStr::new)
                .into_iter()
                .chain([self.backend().join(encoded).as_os_str(), OsStr::new(size)]),
        );
    }

    /// Gives a VM a disk on an image, as release 0.25 lays it out.
    pub(crate) fn vm_with_disk(&self, vm: &str, encoded_image: &str) {
        let folder = self.vmstore().join(vm);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config"), format!("name = \"{vm}\"\n")).unwrap();
        let disk = folder.join(format!("{vm}-0-{encoded_image}"));
        let backing = self.backend().join(encoded_image);
        host(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]
                .map(OsStr::new)
                .into_iter()
                .chain([backing.as_os_str(), disk.as_os_str()]),
        );
    }

    /// Returns the program with these arguments, not started yet.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("TRANSIENT_CACHE", self.cache())
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        if let Some(appliance) = std::env::var_os("TRANSIENT_APPLIANCE") {
            command.env("TRANSIENT_APPLIANCE", appliance);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.outcome(self.command(arguments).output().unwrap())
    }

    /// Returns the arguments of a build of the folder `build`, in a small VM unless `more` says otherwise.
    pub(crate) fn build_arguments<'a>(&self, name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["image", "build", "--name", name, "build"];
        arguments.extend_from_slice(more);
        if !more.contains(&"--memory") {
            arguments.extend(["--memory", "512MiB"]);
        }
        arguments
    }

    /// Builds the folder `build` with this Imagefile.
    pub(crate) fn build(&self, name: &str, imagefile: &str, more: &[&str]) -> Outcome {
        self.write("build/Imagefile", imagefile);
        self.run(self.build_arguments(name, more))
    }

    /// Starts a build of the folder `build` whose events can be read as JSON from its stdout.
    pub(crate) fn start_build(&self, name: &str, imagefile: &str) -> Child {
        self.write("build/Imagefile", imagefile);
        let arguments = self.build_arguments(name, &["--progress", "json"]);
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn outcome(&self, output: Output) -> Outcome {
        let root = self.root.path().to_str().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(root, "[ROOT]");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Returns what lies in the backend's folder for work in progress.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        match fs::read_dir(self.backend().join(".working")) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // What one test learned about this host (does KVM work?) holds for all.
        let (verdict, shared) = (self.cache().join(VERDICT), shared().join(VERDICT));
        if verdict.exists() && !shared.exists() {
            let _ = fs::create_dir_all(shared.parent().unwrap()).and_then(|()| fs::copy(verdict, shared));
        }
    }
}

/// How a run ended; the sandbox's own path reads `[ROOT]`.
#[derive(Debug)]
#[must_use]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Fails unless the exit status is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Fails unless stderr holds each of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {self:#?}");
        }
        self
    }

    /// Returns the lines of stdout as JSON.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }
}

/// Runs a program of the host that must succeed, and returns its stdout.
#[track_caller]
pub(crate) fn host<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> String {
    let mut words = words.into_iter();
    let program = words.next().unwrap();
    let mut command = Command::new(&program);
    command.args(words).env("PATH", PATH).env("LC_ALL", "C");
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:#?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
