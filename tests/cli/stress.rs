//! Many processes at work on one store, some of which are killed: nothing that was made is lost, and nothing is left.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::fixture::random;
use crate::harness::{Outcome, Sandbox, host};
use crate::server::{Reply, Server};

const WORKERS: u64 = 8;
/// So few names that they meet often.
const NAMES: [&str; 6] = ["a", "b-b", "c/c:1", "dä", "e e", "f"];
/// As many builds at a time: each boots a machine.
const BUILDS: usize = 2;
const IMAGEFILE: &str = "FROM scratch\nDISK 16 MB MBR\nPARTITION 1 FORMAT ext2 MOUNT /\nCOPY file /file\n";

/// Numbers that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    List,
    PullFile,
    PullHttp,
    Build,
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// There was no image to remove.
    NotThere,
    Killed,
}

/// What one process did.
#[derive(Debug)]
struct Deed {
    kind: Kind,
    name: &'static str,
    begun: Instant,
    ended: Instant,
    end: End,
}

impl Deed {
    fn may_remove(&self) -> bool {
        self.kind == Kind::Remove && self.end != End::NotThere
    }

    fn may_make(&self) -> bool {
        matches!(self.kind, Kind::PullFile | Kind::PullHttp | Kind::Build)
    }
}

struct Stress {
    sandbox: Sandbox,
    server: Server,
    until: Instant,
    building: Mutex<usize>,
}

impl Stress {
    fn arguments(&self, kind: Kind, name: &str) -> Vec<String> {
        let (from_file, from_server) =
            (format!("{name},file=disk.gz"), format!("{name},http={}", self.server.url("/")));
        let words: &[&str] = match kind {
            Kind::List => &["ls", "--format", "json"],
            Kind::PullFile => &["pull", &from_file],
            Kind::PullHttp => &["pull", &from_server],
            Kind::Build => &["build", "--name", name, "build", "--memory", "256MiB", "--cpus", "1"],
            Kind::Remove => &["rm", name, "--format", "json"],
        };
        ["image"].iter().chain(words).map(|word| word.to_string()).collect()
    }

    /// Chooses what to do; builds are rare, and there are few at a time.
    fn choose(&self, dice: &mut Dice) -> Kind {
        match dice.roll(100) {
            0..30 => Kind::List,
            30..55 => Kind::PullFile,
            55..70 => Kind::PullHttp,
            70..97 => Kind::Remove,
            _ => {
                let mut building = self.building.lock().unwrap();
                if *building == BUILDS {
                    return Kind::List;
                }
                *building += 1;
                Kind::Build
            }
        }
    }

    /// Does one thing after the other until time is up.
    fn work(&self, mut dice: Dice) -> Vec<Deed> {
        let mut deeds = Vec::new();
        while Instant::now() < self.until {
            let kind = self.choose(&mut dice);
            let name = NAMES[dice.roll(NAMES.len() as u64) as usize];
            deeds.push(self.deed(kind, name, &mut dice));
            if kind == Kind::Build {
                *self.building.lock().unwrap() -= 1;
            }
        }
        deeds
    }

    fn deed(&self, kind: Kind, name: &'static str, dice: &mut Dice) -> Deed {
        let mut command = self.sandbox.command(self.arguments(kind, name));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let begun = Instant::now();
        let child = command.spawn().unwrap();
        let longest = if kind == Kind::Build { 6000 } else { 120 };
        let kill_after = (dice.roll(3) == 0).then(|| Duration::from_millis(dice.roll(longest)));
        let whole_group = dice.roll(2) == 0;
        let outcome = self.end_of(child, kill_after, whole_group);
        let ended = Instant::now();
        Deed { kind, name, begun, ended, end: judge(kind, name, &outcome) }
    }

    /// Waits for the end, which may be a sudden one: of the program alone, or of all that it started.
    fn end_of(&self, mut child: Child, kill_after: Option<Duration>, whole_group: bool) -> Outcome {
        if let Some(delay) = kill_after {
            let deadline = Instant::now() + delay;
            while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().unwrap().is_none() {
                let process = Pid::from_child(&child);
                let kill = if whole_group { kill_process_group } else { kill_process };
                kill(process, Signal::KILL).unwrap();
            }
        }
        self.sandbox.outcome(child.wait_with_output().unwrap())
    }
}

/// Fails when a process ended in any way that it should not.
fn judge(kind: Kind, name: &str, outcome: &Outcome) -> End {
    match (outcome.code, kind) {
        (None, _) => End::Killed,
        (Some(0), Kind::List) => {
            assert_eq!(outcome.stderr, "", "whatever is listed is whole");
            End::Done
        }
        (Some(0), _) => End::Done,
        (Some(1), Kind::Remove) => {
            let last: Value = outcome.json_lines().pop().unwrap();
            assert_eq!(last["error"]["kind"], "image-not-found", "{name}: {outcome:#?}");
            End::NotThere
        }
        _ => panic!("{kind:?} of {name}: {outcome:#?}"),
    }
}

/// Whether an image must be there, or must not, after all that was done; `None` when either may be.
fn expected(name: &str, deeds: &[Deed]) -> Option<bool> {
    let of_name = || deeds.iter().filter(|deed| deed.name == name);
    // What was made after all removals had ended is there.
    let made = of_name()
        .filter(|deed| deed.may_make() && deed.end == End::Done)
        .any(|made| of_name().filter(|deed| deed.may_remove()).all(|removed| removed.ended <= made.begun));
    // What was removed after all that could make it had ended is not.
    let removed = of_name()
        .filter(|deed| deed.kind == Kind::Remove && deed.end != End::Killed)
        .any(|removed| of_name().filter(|deed| deed.may_make()).all(|made| made.ended <= removed.begun));
    assert!(!(made && removed), "{name} was lost, or came from nowhere: {deeds:#?}");
    (made || removed).then_some(made)
}

/// Returns the processes that name a file of the sandbox.
fn processes_of(sandbox: &Sandbox) -> Vec<String> {
    let root = sandbox.path("").to_str().unwrap().to_owned();
    let command = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&root).then_some(line)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(command).collect()
}

/// Works for so long, checks everything, and prints what was done.
fn stress(seconds: u64) {
    let seed = std::env::var("STRESS_SEED").ok().map_or_else(
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        |seed| seed.parse().unwrap(),
    );
    println!("STRESS_SEED={seed} STRESS_SECONDS={seconds}");
    let sandbox = Sandbox::new();
    sandbox.write("build/Imagefile", IMAGEFILE);
    sandbox.write("build/file", "content");
    sandbox.write("disk", random(1 << 20));
    host(["gzip", "-1", sandbox.path("disk").to_str().unwrap()]);
    let content = fs::read(sandbox.path("disk.gz")).unwrap();
    // Every third connection breaks.
    let server = Server::start(move |asked| {
        let reply = Reply::ok(content.clone()).ranges().header("ETag", "\"one\"");
        if asked.number % 3 == 0 { reply.cut_after(content.len() / 2) } else { reply }
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    let stress = Stress { sandbox, server, until, building: Mutex::new(0) };
    let deeds: Vec<Deed> = std::thread::scope(|scope| {
        let stress = &stress;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || stress.work(Dice(seed.wrapping_add(worker << 32)))))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    report(&deeds);
    check(&stress.sandbox, &deeds);
}

fn report(deeds: &[Deed]) {
    let mut figures: BTreeMap<Kind, [usize; 3]> = BTreeMap::new();
    for deed in deeds {
        figures.entry(deed.kind).or_default()[deed.end as usize] += 1;
    }
    println!("{:10} {:>8} {:>10} {:>8}", "", "done", "not there", "killed");
    for (kind, [done, not_there, killed]) in &figures {
        println!("{:10} {done:>8} {not_there:>10} {killed:>8}", format!("{kind:?}"));
    }
    let killed = deeds.iter().filter(|deed| deed.end == End::Killed).count();
    println!("{} processes, {killed} of them killed, no other failure", deeds.len());
}

fn check(sandbox: &Sandbox, deeds: &[Deed]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = processes_of(sandbox);
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "these processes are left: {left:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let listed = sandbox.run(["image", "ls", "--format", "json"]).exits(0);
    assert_eq!(listed.stderr, "");
    let mut there = Vec::new();
    for image in listed.json_lines()[0].as_array().unwrap() {
        let path = image["path"].as_str().unwrap().replace("[ROOT]", sandbox.path("").to_str().unwrap());
        host(["qemu-img", "check", "-q", "-f", "qcow2", &path]);
        there.push(image["name"].as_str().unwrap().to_owned());
    }
    let mut known = 0;
    for name in NAMES {
        if let Some(expected) = expected(name, deeds) {
            known += 1;
            assert_eq!(there.iter().any(|there| there == name), expected, "{name}: {deeds:#?}");
        }
    }
    println!(
        "{} images are there and whole; of {known} names it was known whether they had to be",
        there.len()
    );
    // The next operation clears away what the killed ones left.
    println!("{} files and folders were left by the killed", sandbox.leftovers().len());
    let _ = sandbox.run(["image", "pull", "last,file=disk.gz"]).exits(0);
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
    let files = fs::read_dir(sandbox.backend()).unwrap().count();
    assert_eq!(files, there.len() + 3, "the images, the last one, .working and .provenance");
    assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0, "TMPDIR");
}

#[test]
#[ignore = "takes a while"]
fn many_processes_some_of_them_killed() {
    let seconds = std::env::var("STRESS_SECONDS").map_or(20, |seconds| seconds.parse().unwrap());
    stress(seconds);
}

#[test]
fn what_must_be_there_is_known() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let deed = |kind, begun, ended, end| Deed { kind, name: "a", begun: at(begun), ended: at(ended), end };
    use End::{Done, Killed, NotThere};
    use Kind::{PullFile, Remove};
    let cases: [(&[Deed], Option<bool>); 6] = [
        (&[], None),
        (&[deed(Remove, 0, 1, Done), deed(PullFile, 1, 2, Done)], Some(true)),
        (&[deed(Remove, 0, 3, Done), deed(PullFile, 1, 2, Done)], None),
        (&[deed(PullFile, 1, 2, Done), deed(Remove, 2, 3, Killed)], None),
        (&[deed(PullFile, 1, 2, Killed), deed(Remove, 2, 3, Done)], Some(false)),
        (
            &[deed(PullFile, 1, 2, Done), deed(PullFile, 2, 5, Killed), deed(Remove, 3, 4, NotThere)],
            Some(true),
        ),
    ];
    for (number, (deeds, wanted)) in cases.iter().enumerate() {
        assert_eq!(expected("a", deeds), *wanted, "case {number}");
    }
}
