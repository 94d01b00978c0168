//! Differences, one at a time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::build::context::Context;
use crate::build::stage::{Ground, stages};
use crate::builder::Network;
use crate::{CancelToken, Imagefile, Plan};

const TEXT: &str = "FROM base\nRUN a\nCOPY d f /\nRUN b\n";

/// A build directory, and what builds may differ in besides.
struct Fixture {
    folder: tempfile::TempDir,
    text: String,
    base: &'static str,
    appliance: &'static str,
    network: Network,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("d")).expect("made");
        for file in ["d/a", "f"] {
            let path = folder.path().join(file);
            fs::write(&path, "same").expect("written");
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("set");
        }
        symlink("a", folder.path().join("d/link")).expect("linked");
        let text = TEXT.to_owned();
        Self { folder, text, base: "base", appliance: "appliance", network: Network::User }
    }

    fn at(&self, path: impl AsRef<Path>) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn ingredients(&self) -> Ingredients {
        let plan = Plan::new(&Imagefile::parse("Imagefile", self.text.as_bytes()).expect("good"));
        let context = Context::open(self.folder.path()).expect("opened");
        let base = Some(Digest::of(self.base.as_bytes()));
        let ground = Ground { base, appliance: self.appliance, network: self.network };
        let stages = stages(&plan, &context, &ground, &CancelToken::new());
        Ingredients::of(&plan, &ground, &stages.map_err(|(_, error)| error).expect("read"))
    }

    /// Explains a build of which `found` stages are in the cache after a change.
    fn explain(found: usize, change: impl FnOnce(&mut Self)) -> Told {
        let mut fixture = Self::new();
        let last = fixture.ingredients();
        change(&mut fixture);
        let found = Found { stages: found, end: false, forced: false };
        Told::from(explain(&found, &fixture.ingredients(), Some(&last), "new"))
    }
}

/// An explanation.
struct Told {
    step: Option<usize>,
    reason: String,
    differences: Vec<Difference>,
    more: usize,
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        let Event::Explanation { step, reason, differences, more } = event else { panic!("{event:?}") };
        Self { step, reason, differences, more }
    }
}

impl Told {
    fn kinds(&self) -> Vec<DifferenceKind> {
        self.differences.iter().map(|difference| difference.kind).collect()
    }

    fn messages(&self) -> Vec<&str> {
        self.differences.iter().map(|difference| difference.message.as_str()).collect()
    }
}

#[test]
fn what_all_steps_stand_on_is_told_first() {
    let told = Fixture::explain(0, |now| {
        (now.base, now.appliance, now.text) = ("other", "newer", TEXT.replace("RUN a", "RUN x"));
    });
    assert_eq!(told.kinds(), [DifferenceKind::BaseImage, DifferenceKind::Appliance]);
    assert_eq!(told.differences[0].now, Some(Digest::of(b"other").to_string()));
    assert_eq!(told.messages()[1], "the appliance was appliance, and is newer");
    assert_eq!(told.step, Some(2));
    assert!(told.reason.contains("all steps stand on something else"), "{}", told.reason);
}

#[test]
fn an_instruction_is_told_as_it_was_and_is() {
    let told = Fixture::explain(2, |now| now.text = TEXT.replace("RUN b", "RUN c\nRUN d"));
    assert_eq!(told.messages(), ["the instruction was 'RUN b', and is 'RUN c'"]);
    assert_eq!(told.reason, "step 4 is carried out because it differs from the last build of 'new'");
    let told = Fixture::explain(3, |now| now.text = format!("{TEXT}RUN d\n"));
    assert_eq!(told.messages(), ["'RUN d' was added"]);
}

#[test]
fn a_step_before_it_may_be_why() {
    // For example one that an earlier build had left, after one with another text.
    let told = Fixture::explain(1, |now| now.text = TEXT.replace("RUN a", "RUN x"));
    let reason = "step 3 is carried out because step 2, before it, differs from the last build of 'new'";
    assert_eq!(told.reason, reason);
    assert_eq!(told.messages(), ["the instruction was 'RUN a', and is 'RUN x'"]);
}

#[test]
fn secrets_are_not_told() {
    let fetch = |password| TEXT.replace("RUN a", &format!("RUN wget https://me:{password}@host/"));
    let told = Fixture::explain(0, |now| now.text = fetch("secret"));
    assert_eq!(told.messages(), ["the instruction was 'RUN a', and is 'RUN wget https://host/'"]);
    let mut fixture = Fixture::new();
    fixture.text = fetch("secret");
    let last = fixture.ingredients();
    fixture.text = fetch("other");
    let found = Found { stages: 0, end: false, forced: false };
    let told = Told::from(explain(&found, &fixture.ingredients(), Some(&last), "new"));
    assert!(told.reason.contains("a secret in a URL") && told.differences.is_empty(), "{}", told.reason);
}

#[test]
fn a_network_counts_where_something_runs() {
    let told = Fixture::explain(0, |now| now.network = Network::None);
    assert_eq!(told.messages(), ["the network was 'user', and is 'none'"]);
}

#[test]
fn each_way_in_which_files_differ_is_told() {
    let told = Fixture::explain(1, |now| {
        fs::write(now.at("d/new"), "").expect("written");
        fs::remove_file(now.at("d/link")).expect("removed");
        symlink("/secret", now.at("d/link")).expect("linked");
        fs::write(now.at("d/a"), "secret").expect("written");
        fs::set_permissions(now.at("d/a"), fs::Permissions::from_mode(0o755)).expect("set");
        fs::remove_file(now.at("f")).expect("removed");
        fs::create_dir(now.at("f")).expect("made");
    });
    use DifferenceKind::{Content, Existence, FileType, LinkTarget, Mode};
    assert_eq!(told.kinds(), [Mode, Content, LinkTarget, Existence, FileType]);
    let short = |text: &str| Digest::of(text.as_bytes()).to_string()[..SHORT].to_owned();
    let expected = [
        "the mode of 'd/a' was 0644, and is 0755".to_owned(),
        format!("the digest of the bytes of 'd/a' was {}, and is {}", short("same"), short("secret")),
        format!(
            "the digest of the target of the link 'd/link' was {}, and is {}",
            short("a"),
            short("/secret")
        ),
        "'d/new' was added".to_owned(),
        "'f' was a file, and is a directory".to_owned(),
    ];
    assert_eq!(told.messages(), expected);
    assert!(!format!("{:?}", told.differences).contains("secret"), "contents are not told");
    let told = Fixture::explain(1, |now| fs::remove_file(now.at("d/a")).expect("removed"));
    assert_eq!((told.kinds(), told.messages()), (vec![Existence], vec!["'d/a' was removed"]));
}

#[test]
fn only_the_first_differences_are_told_one_by_one() {
    let told = Fixture::explain(1, |now| {
        (0..TOLD + 3).for_each(|number| fs::write(now.at(format!("d/{number}")), "").expect("written"));
    });
    assert_eq!((told.differences.len(), told.more), (TOLD, 3));
}

#[test]
fn what_is_no_difference_has_a_reason_too() {
    let now = Fixture::new().ingredients();
    let say = |stages, end, forced, last| {
        Told::from(explain(&Found { stages, end, forced }, &now, last, "new")).reason
    };
    assert_eq!(say(3, true, false, None), "every step is in the cache");
    assert!(say(3, false, false, None).contains("only the end of the build"));
    assert!(say(1, false, true, Some(&now)).starts_with("step 3 is carried out as was asked for"));
    assert!(say(1, false, false, None).contains("there is no earlier build of 'new' to compare with"));
    assert!(say(1, false, false, Some(&now)).contains("though nothing differs from the last build of 'new'"));
    let told = Fixture::explain(1, |now| now.text = TEXT.replace("COPY d f /", "INSPECT"));
    assert!(told.reason.contains("INSPECT") && told.differences.is_empty(), "{}", told.reason);
}
