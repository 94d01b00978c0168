//! Compiles the programs of `tests/c` as users would, and runs them under valgrind and with AddressSanitizer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod hostile;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
/// What a static Rust library needs of the system, as `rustc --print native-static-libs` tells.
const SYSTEM_LIBRARIES: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// The folder where cargo puts the library for its tests.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn path(below: &str) -> PathBuf {
    Path::new(ROOT).join(below)
}

/// Runs a command, which must succeed; returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// A folder with a program in each of its two forms.
struct Program {
    folder: TempDir,
    name: String,
}

impl Program {
    fn of(name: &str) -> Self {
        Self::compile(name, &path("tests/c").join(name).with_extension("c"))
    }

    fn compile(name: &str, source: &Path) -> Self {
        let program = Self::link_shared(name, source);
        run(program
            .compiler(source, "sanitized")
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
            .arg(built().join("libtransient.a"))
            .args(SYSTEM_LIBRARIES));
        program
    }

    fn link_shared(name: &str, source: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        for link in ["libtransient.so", "libtransient.so.1"] {
            symlink(built().join("libtransient.so"), folder.path().join(link)).unwrap();
        }
        let program = Self { folder, name: name.to_owned() };
        let library = ["-L", program.folder.path().to_str().unwrap(), "-ltransient", "-pthread"];
        run(program.compiler(source, "valgrind").args(library));
        program
    }

    /// Runs an example as it is, on a store; returns what it printed.
    fn run_example(name: &str, store: &Path, arguments: &[&str]) -> String {
        let program = Self::link_shared(name, &path("examples/c").join(name).with_extension("c"));
        let mut command = Command::new(program.folder.path().join("valgrind"));
        command.env("TRANSIENT_BACKEND", store.join("backend")).env("XDG_RUNTIME_DIR", program.folder.path());
        run(program.environment(&mut command).args(arguments))
    }

    fn compiler(&self, source: &Path, form: &str) -> Command {
        let mut command = Command::new("gcc");
        command.args(["-std=gnu11", "-g", "-O1"]).args(WARNINGS).arg("-I").arg(path("include"));
        command.arg("-I").arg(path("tests/c")).arg(source).arg("-o").arg(self.folder.path().join(form));
        command
    }

    fn run_sanitized(&self, arguments: &[&Path]) {
        let program = self.folder.path().join("sanitized");
        let symbols = run(Command::new("nm").arg(&program));
        assert!(symbols.contains("__asan_init"), "{} has no AddressSanitizer", self.name);
        run(self.environment(&mut Command::new(&program)).args(arguments));
    }

    fn run_in_valgrind(&self, arguments: &[&Path]) {
        run(self
            .environment(&mut Command::new("valgrind"))
            .args([
                "--quiet",
                "--error-exitcode=99",
                "--leak-check=full",
                "--show-leak-kinds=definite,indirect",
            ])
            .args(["--errors-for-leak-kinds=definite,indirect", "--child-silent-after-fork=yes"])
            .arg(self.folder.path().join("valgrind"))
            .args(arguments));
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("TRANSIENT_APPLIANCE", path("target/appliance"))
            .env("HOME", self.folder.path())
    }
}

/// Makes a store with two images, a file that is none, and a VM on the second image.
fn store() -> TempDir {
    let store = TempDir::new_in(built()).unwrap();
    let folder = store.path();
    for below in ["backend", "vmstore/vm"] {
        fs::create_dir_all(folder.join(below)).unwrap();
    }
    let create = |file: PathBuf, more: &[&str]| {
        run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).args(more).arg(file).arg("1M"));
    };
    create(folder.join("backend/one"), &[]);
    create(folder.join("backend/two"), &[]);
    let backing = folder.join("backend/two");
    create(folder.join("vmstore/vm/vm-0-two"), &["-F", "qcow2", "-b", backing.to_str().unwrap()]);
    fs::write(folder.join("backend/odd"), "no image").unwrap();
    // a broken appliance, for which there is a warning in the log
    fs::write(folder.join("appliance.json"), "{").unwrap();
    store
}

/// Makes a store with an image that boots: it writes `ok` to the serial port, and stops. Its path is short enough for
/// sockets.
fn store_with_a_guest() -> TempDir {
    const CODE: [u8; 12] = [
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'o', 0xee, // mov al, 'o'; out dx, al
        0xb0, b'k', 0xee, // mov al, 'k'; out dx, al
        0xf4, 0xeb, 0xfd, // hlt; jmp to it
    ];
    let store = TempDir::new().unwrap();
    let (backend, raw) = (store.path().join("backend"), store.path().join("raw"));
    fs::create_dir(&backend).unwrap();
    let mut disk = vec![0; 1 << 20];
    disk[..CODE.len()].copy_from_slice(&CODE);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&raw, disk).unwrap();
    run(Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(raw)
        .arg(backend.join("boots")));
    store
}

/// Adds a system that boots on its own to a store, as `tiny`: the one that the tests of the command line have built, or
/// one that is built now.
fn add_tiny_vm(store: &Path) {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-vm.qcow2");
    if built.exists() {
        fs::create_dir(store.join("backend")).unwrap();
        fs::copy(built, store.join("backend/tiny")).unwrap();
        return;
    }
    let directory = TempDir::new().unwrap();
    run(Command::new(path("scripts/tiny-vm.sh")).arg(directory.path()));
    Program::run_example("build", store, &[directory.path().to_str().unwrap(), "tiny"]);
}

#[test]
fn all_that_needs_no_vm() {
    let program = Program::of("library");
    program.run_sanitized(&[store().path()]);
    program.run_in_valgrind(&[store().path()]);
}

#[test]
fn eight_threads() {
    let program = Program::of("threads");
    program.run_sanitized(&[store().path()]);
    program.run_in_valgrind(&[store().path()]);
}

#[test]
fn vms_are_run_and_ended() {
    let program = Program::of("vm");
    program.run_sanitized(&[store_with_a_guest().path()]);
    program.run_in_valgrind(&[store_with_a_guest().path()]);
}

#[test]
#[ignore = "boots a guest, and needs the appliance"]
fn a_guest_is_reached() {
    let store = TempDir::new().unwrap();
    add_tiny_vm(store.path());
    assert_eq!(Program::run_example("run", store.path(), &["tiny", "hostname"]), "tiny\n");
    Program::of("guest").run_sanitized(&[store.path()]);
}

#[test]
fn hostile_callers_get_errors() {
    let header = fs::read_to_string(path("include/transient.h")).unwrap();
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("hostile.c");
    fs::write(&source, hostile::program(&header)).unwrap();
    let program = Program::compile("hostile", &source);
    program.run_sanitized(&[]);
    program.run_in_valgrind(&[]);
}

#[test]
#[ignore = "takes a minute, and needs the appliance"]
fn builds() {
    let program = Program::of("build");
    let directory = TempDir::new().unwrap();
    run(Command::new(path("scripts/busybox-rootfs.sh")).arg(directory.path().join("rootfs.tar.gz")));
    let base = "FROM scratch\nDISK 64 MB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nADD rootfs.tar.gz /\n";
    fs::write(directory.path().join("Imagefile"), format!("{base}RUN echo hello\n")).unwrap();
    fs::write(directory.path().join("Failing"), "FROM whole\nRUN echo goodbye >&2; exit 3\n").unwrap();
    fs::write(directory.path().join("Sleeping"), "FROM whole\nRUN echo started; sleep 1000\n").unwrap();
    let store = || TempDir::new_in(built()).unwrap();
    let first = store();
    program.run_sanitized(&[first.path(), directory.path()]);
    // valgrind has no `openat2`, with which sources of ADD are opened: it gets an image in their place
    let image = first.path().join("backend/whole");
    let from = format!("FROM base,file={}\nRUN echo hello\n", image.display());
    fs::write(directory.path().join("Imagefile"), from).unwrap();
    program.run_in_valgrind(&[store().path(), directory.path()]);
}

#[test]
fn the_header_stands_alone_in_every_language() {
    let folder = TempDir::new().unwrap();
    let alone = folder.path().join("alone.h");
    fs::write(&alone, "#include <transient.h>\n#include <transient.h>\n").unwrap();
    for (compiler, language, standard) in
        [("gcc", "c", "c11"), ("clang", "c", "c11"), ("g++", "c++", "c++17"), ("clang++", "c++", "c++17")]
    {
        run(Command::new(compiler)
            .args(WARNINGS)
            .args(["-fsyntax-only", "-x", language, &format!("-std={standard}"), "-I"])
            .arg(path("include"))
            .arg(&alone));
    }
}

#[test]
fn the_examples_of_the_guide_compile() {
    let guide = fs::read_to_string(path("docs/c.md")).unwrap();
    let examples: Vec<&str> =
        guide.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 5, "{}", examples.len());
    for example in examples {
        let folder = TempDir::new().unwrap();
        let source = folder.path().join("example.c");
        fs::write(&source, example).unwrap();
        run(Command::new("gcc")
            .args(WARNINGS)
            .args(["-std=gnu11", "-fsyntax-only", "-I"])
            .arg(path("include"))
            .arg(&source));
    }
}

#[test]
fn a_program_in_cpp() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("interface");
    run(Command::new("g++")
        .args(WARNINGS)
        .args(["-std=c++17", "-I"])
        .arg(path("include"))
        .arg(path("tests/c/interface.cpp"))
        .arg("-o")
        .arg(&program)
        .arg(built().join("libtransient.a"))
        .args(SYSTEM_LIBRARIES));
    run(&mut Command::new(program));
}

#[test]
fn the_library_exports_our_names_alone() {
    let bytes = fs::read(built().join("libtransient.so")).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    assert_eq!(elf.soname, Some("libtransient.so.1"));
    let exported: Vec<_> = elf
        .dynsyms
        .iter()
        .filter(|symbol| symbol.st_shndx != 0 && symbol.st_bind() != goblin::elf::sym::STB_LOCAL)
        .filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name))
        .collect();
    assert!(exported.len() > 90, "{exported:?}");
    assert!(exported.iter().all(|name| name.starts_with("transient_")), "{exported:?}");
}
