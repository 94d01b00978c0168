//! INSPECT, on a pseudo-terminal, as a person at the keyboard meets it.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs};
use crate::harness::Sandbox;
use crate::person::Person;

#[test]
fn a_shell_at_this_point_of_the_build() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    sandbox.write("build/Imagefile", format!("{TINY}INSPECT\nRUN cat /typed\n"));
    let (mut person, terminal) = Person::at_terminal(123, 45);
    let mut command = sandbox.command(["image", "build", "--name", "inspected"]);
    command.arg(sandbox.path("build")).env("TERM", "vt100");
    command.stdin(terminal.try_clone().unwrap()).stdout(terminal).stderr(Stdio::inherit());
    let mut program = command.spawn().unwrap();
    drop(command);

    person.sees("INSPECT");
    person.sees("/ # ");
    person.types("/bin/busybox stty size; /bin/busybox tty; echo term=$TERM\r");
    person.sees("45 123");
    person.sees("/dev/pts/");
    person.sees("term=vt100");
    // Ctrl-C belongs to the shell, not to the build.
    person.types("sleep 1000\r");
    thread::sleep(Duration::from_millis(500));
    person.types("\x03");
    person.sees("/ # ");
    person.types("echo by hand > /typed; exit 3\r");
    person.sees("RUN cat /typed");
    person.sees("by hand");
    assert!(program.wait().unwrap().success());
    assert_eq!(Disk::open(&sandbox.backend().join("inspected")).ext(1).read("/typed"), "by hand\n");
}
