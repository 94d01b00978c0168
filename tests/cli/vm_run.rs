//! `transient run`: VMs that keep nothing.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Outcome, Sandbox, host};
use crate::person::Person;
use crate::tiny_vm::{TINY_VM, with_tiny_vm};

/// Enough memory for the tiny system.
const MEMORY: [&str; 3] = ["--", "-m", "256M"];

/// Runs a command in a VM of the tiny system.
fn run(sandbox: &Sandbox, command: &str, more: &[&str]) -> Outcome {
    let arguments = [&["run", TINY_VM, "--ssh-command", command], more, &MEMORY].concat();
    sandbox.run(arguments)
}

/// Nothing is left of VMs, neither processes nor files: what a killed owner could not remove goes with the next listing.
#[track_caller]
pub(crate) fn nothing_is_left(sandbox: &Sandbox) {
    assert_eq!(sandbox.run(["ps", "--format", "json"]).exits(0).stdout, "[]\n");
    for folder in fs::read_dir(sandbox.path("tmp")).unwrap() {
        let left: Vec<_> =
            fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_command_has_its_streams_and_its_status() {
    let sandbox = with_tiny_vm();
    let ran = run(&sandbox, "hostname; echo problem >&2; exit 7", &[]).exits(7);
    assert_eq!(ran.stdout, "Finished preparation. Starting virtual machine\ntiny\n");
    assert_eq!(ran.stderr, "problem\n");
    assert!(!sandbox.vmstore().exists(), "nothing is kept");
    nothing_is_left(&sandbox);
}

#[test]
fn a_command_reads_our_input_and_dies_of_a_signal() {
    let sandbox = with_tiny_vm();
    let arguments = [&["run", TINY_VM, "--cmd", "wc -c; kill -9 $$"][..], &MEMORY].concat();
    let mut command = sandbox.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::spawn(move || input.write_all(&vec![b'x'; 1_000_000]));
    let outcome = sandbox.outcome(child.wait_with_output().unwrap()).exits(137);
    assert!(outcome.stdout.ends_with("\n1000000\n"), "{outcome:?}");
}

#[test]
fn a_person_has_the_serial_console() {
    let sandbox = with_tiny_vm();
    let (mut person, terminal) = Person::at_terminal(80, 25);
    let mut command = sandbox.command([&["run", TINY_VM][..], &MEMORY].concat());
    command.stdin(terminal.try_clone().unwrap()).stdout(terminal).stderr(Stdio::inherit());
    let mut program = command.spawn().unwrap();
    drop(command);
    person.sees("Finished preparation");
    person.sees("tiny# ");
    person.types("sleep 1000\r");
    person.sees("sleep 1000");
    // Ctrl-C belongs to the guest.
    std::thread::sleep(Duration::from_millis(300));
    person.types("\x03");
    person.sees("tiny# ");
    person.types("echo in $((40 + 2)) words; poweroff\r");
    person.sees("in 42 words");
    assert!(program.wait().unwrap().success());
    nothing_is_left(&sandbox);
}

#[test]
fn a_person_has_a_shell_of_the_size_of_the_terminal() {
    let sandbox = with_tiny_vm();
    let (mut person, terminal) = Person::at_terminal(123, 45);
    let mut command = sandbox.command([&["run", TINY_VM, "--ssh-with-serial"][..], &MEMORY].concat());
    command
        .env("TERM", "vt100")
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal)
        .stderr(Stdio::inherit());
    let mut program = command.spawn().unwrap();
    drop(command);
    // The serial console, then the shell.
    person.sees("tiny# ");
    person.sees("tiny$ ");
    person.types("stty size; echo term=$TERM\r");
    person.sees("45 123");
    person.sees("term=vt100");
    person.resizes(99, 33);
    person.types("until stty size | grep 99; do sleep 0.1; done\r");
    person.sees("33 99");
    person.types("exit 5\r");
    assert_eq!(program.wait().unwrap().code(), Some(5));
}

#[test]
fn the_forwarded_port_is_on_the_loopback_alone() {
    let sandbox = with_tiny_vm();
    let look = "for file in /proc/net/tcp; do cat $file; done > /dev/null; sleep 600";
    let mut child = sandbox
        .command([&["run", TINY_VM, "--cmd", look][..], &MEMORY].concat())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let port = loop {
        let listed = sandbox.run(["ps", "--format", "json"]).exits(0).json_lines();
        match listed[0][0]["running"]["ssh_port"].as_u64() {
            Some(port) => break port,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    // In the kernel's table, an address is a hexadecimal number in the order of the host.
    let listeners = fs::read_to_string("/proc/net/tcp").unwrap();
    let ours: Vec<&str> =
        listeners.lines().filter(|line| line.contains(&format!(":{port:04X} 00000000:0000 0A"))).collect();
    assert_eq!(ours.len(), 1, "{listeners}");
    assert!(ours[0].contains(&format!("0100007F:{port:04X}")), "{ours:?}");
    assert!(!fs::read_to_string("/proc/net/tcp6").unwrap_or_default().contains(&format!(":{port:04X} ")));
    crate::processes::send(child.id(), rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    nothing_is_left(&sandbox);
}

#[test]
fn a_panic_of_the_guest_is_seen_at_once() {
    let sandbox = with_tiny_vm();
    let begun = Instant::now();
    let ran = run(&sandbox, "echo c > /proc/sysrq-trigger; sleep 600", &["--ssh-user", "root"]);
    assert_eq!(ran.code, Some(1));
    let ran = ran.says(&["error: the kernel of the VM panicked", "Kernel panic - not syncing"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{ran:?}");
    nothing_is_left(&sandbox);
}

#[test]
fn a_qemu_that_ends_is_seen_at_once_with_its_words() {
    let sandbox = with_tiny_vm();
    let begun = Instant::now();
    let arguments = ["run", TINY_VM, "--ssh", "--", "-device", "no-such-device"];
    let _ = sandbox.run(arguments).exits(1).says(&["QEMU ended before its time", "no-such-device"]);
    let _ = sandbox
        .run(["run", TINY_VM, "--qemu-bin-name", "no-such-qemu"])
        .exits(1)
        .says(&["Required program 'no-such-qemu' is not installed"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    nothing_is_left(&sandbox);
}

#[test]
fn who_is_not_let_in_is_told_what_was_tried() {
    let sandbox = with_tiny_vm();
    host(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", sandbox.path("key").to_str().unwrap()]);
    let key = sandbox.path("key");
    let said = run(&sandbox, "true", &["--ssh-key", key.to_str().unwrap()]).exits(1);
    let _ = said.says(&["the guest lets nobody in as 'vagrant' by '[ROOT]/key'", "--ssh-user and --ssh-key"]);
    // The user's own keys come before the well-known one, and are no obstacle.
    fs::create_dir(sandbox.path("home/.ssh")).unwrap();
    fs::copy(&key, sandbox.path("home/.ssh/id_ed25519")).unwrap();
    let _ = run(&sandbox, "true", &[]).exits(0);
}

#[test]
fn the_users_agent_logs_in() {
    let sandbox = with_tiny_vm();
    let (key, socket) = (sandbox.path("key"), sandbox.path("agent"));
    let agent = host(["ssh-agent", "-a", socket.to_str().unwrap()]);
    let pid: u32 = agent.split_once("SSH_AGENT_PID=").unwrap().1.split_once(';').unwrap().0.parse().unwrap();
    host(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
    let added =
        std::process::Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", &socket).output().unwrap();
    assert!(added.status.success(), "{added:?}");
    fs::rename(&key, sandbox.path("nobody-finds-it")).unwrap();
    // From then on, the well-known key is of no use.
    let allowed = "key.pub:/home/vagrant/.ssh/authorized_keys";
    let arguments = ["run", TINY_VM, "-b", allowed, "--cmd", "hostname", "--", "-m", "256M"];
    let outcome = sandbox.command(arguments).env("SSH_AUTH_SOCK", &socket).output();
    crate::processes::send(pid, rustix::process::Signal::TERM);
    let ran = sandbox.outcome(outcome.unwrap()).exits(0);
    assert!(ran.stdout.ends_with("\ntiny\n"), "{ran:?}");
}

#[test]
fn a_guest_without_ssh_is_given_up_in_time() {
    let sandbox = Sandbox::new();
    sandbox.empty_image("empty", "10M");
    let begun = Instant::now();
    let said = sandbox
        .run(["run", "empty", "--cmd", "true", "--ssh-timeout", "2", "--shutdown-timeout", "0"])
        .exits(1);
    let _ = said.says(&["the guest did not accept SSH within 2 s", "--ssh-with-serial"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    nothing_is_left(&sandbox);
}

#[test]
fn openssh_is_used_where_it_is_asked_for() {
    let sandbox = with_tiny_vm();
    sandbox.write("ssh", "#!/bin/sh\necho \"$@\" >> \"$HOME/asked\"\nexec /usr/bin/ssh \"$@\"\n");
    let program = sandbox.path("ssh");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let more = ["--ssh-bin-name", program.to_str().unwrap(), "-o", "ServerAliveInterval=7"];
    let ran = run(&sandbox, "cat; exit 3", &more).exits(3);
    assert_eq!(ran.stderr, "");
    let asked = fs::read_to_string(sandbox.path("home/asked")).unwrap();
    assert!(asked.contains("-o ServerAliveInterval=7") && asked.contains("cat; exit 3"), "{asked}");
}

#[test]
fn a_configuration_file_has_the_flags_and_tells_its_mistakes() {
    let sandbox = with_tiny_vm();
    let config = sandbox.write(
        "vm.toml",
        format!("image = \"{TINY_VM}\"\nssh-user = \"root\"\nqemu_args = [\"-m\", \"256M\"]\nssh_command = \"id -un\"\n"),
    );
    let ran = sandbox.run(["run", "--config", config.to_str().unwrap()]).exits(0);
    assert!(ran.stdout.ends_with("\nroot\n"), "{ran:?}");
    let ran = sandbox.run(["run", "--config", config.to_str().unwrap(), "--cmd", "echo won"]).exits(0);
    assert!(ran.stdout.ends_with("\nwon\n"), "{ran:?}");
    sandbox.write("vm.toml", "image = 3\n\nssh-prot = 22\n");
    let said = sandbox.run(["run", "--config", config.to_str().unwrap()]).exits(1);
    assert_eq!(
        said.stderr,
        "Invalid configuration file '[ROOT]/vm.toml'\n  [line 1]: image: expected a text in quotes\n  \
         [line 3]: ssh-prot: unknown option\n"
    );
    let _ = sandbox.run(["run"]).exits(1).says(&["error: no image is named"]);
    let unknown = sandbox.run(["run", "nowhere"]).exits(1);
    assert!(unknown.stderr.starts_with("Unable to find image 'nowhere' in backend"), "{unknown:?}");
}
