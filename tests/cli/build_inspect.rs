//! INSPECT, on a pseudo-terminal, as a person at the keyboard meets it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs};
use crate::harness::Sandbox;

/// Booting without KVM on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A person: types, and reads what the terminal shows.
struct Person {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Person {
    /// Returns a person, and the terminal that the program gets.
    fn at_terminal(columns: u16, rows: u16) -> (Self, OwnedFd) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let keyboard = File::from(controller);
        let mut display = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = display.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        (Self { keyboard, screen, seen: String::new() }, terminal)
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until a text appears; what came before it is forgotten.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no '{text}' in: {}", self.seen),
            }
        }
    }
}

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
