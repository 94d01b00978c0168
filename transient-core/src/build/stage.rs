//! The stages of a plan: steps after which the disk can be kept, and what it is then found by.

use std::ops::Range;

use super::context::Context;
use super::inputs::{Reads, inputs};
use super::plan::{Plan, Step};
use crate::builder::Network;
use crate::imagefile::{Base, Instruction};
use crate::layer::{Digest, Input, Key, KeyMaker};
use crate::{CancelToken, CompressionType, Error};

/// Steps that are done one after the other, and kept as one layer.
#[derive(Debug)]
pub(super) struct Stage {
    /// Which steps of the plan.
    pub(super) steps: Range<usize>,
    /// What the layer is found by; `None` is one that is never kept.
    pub(super) key: Option<Key>,
    /// What the steps read, as it was when the key was made.
    pub(super) inputs: Vec<Input>,
}

impl Stage {
    /// Whether the steps are carried out whatever is in the cache.
    pub(super) fn is_forced(&self, no_cache_from: Option<usize>) -> bool {
        no_cache_from.is_some_and(|step| self.steps.end >= step)
    }

    /// Whether the steps still read what the key was made of: files may change while a build runs.
    pub(super) fn is_as_keyed(&self, plan: &Plan, context: &Context, cancel: &CancelToken) -> bool {
        let read = |step: &Step| read(&step.instruction, context, cancel).is_ok_and(|now| now == self.inputs);
        self.inputs.is_empty() || plan.steps[self.steps.clone()].iter().all(read)
    }
}

/// What counts for every step, whatever it does.
pub(super) struct Ground<'a> {
    /// The content of the image that the build is FROM.
    pub(super) base: Option<Digest>,
    /// The key of the appliance, which has the kernel and all programs that make filesystems.
    pub(super) appliance: &'a str,
    pub(super) network: Network,
}

/// Returns the stages of a plan; an error comes with the step that it is of.
///
/// A new disk with its partitions is one stage. What a person does in INSPECT nobody knows, so nothing from there on
/// is kept.
pub(super) fn stages<'p>(
    plan: &'p Plan,
    context: &Context,
    ground: &Ground<'_>,
    cancel: &CancelToken,
) -> Result<Vec<Stage>, (&'p Step, Error)> {
    let first = match plan.base {
        Base::Scratch => plan.steps.iter().take_while(|step| makes_disk(&step.instruction)).count(),
        Base::Image(_) => 1,
    };
    let mut parent = Some(ground.key());
    let mut stages = Vec::new();
    if plan.base == Base::Scratch {
        let mut maker = KeyMaker::new("disk");
        plan.steps[..first].iter().for_each(|step| add_instruction(&mut maker, &step.instruction));
        parent = parent.map(|parent| below(maker, parent));
        stages.push(Stage { steps: 0..first, key: parent, inputs: Vec::new() });
    }
    for (index, step) in plan.steps.iter().enumerate().skip(first) {
        let inputs = read(&step.instruction, context, cancel).map_err(|error| (step, error))?;
        parent = parent.and_then(|parent| ground.step(parent, &step.instruction, &inputs));
        stages.push(Stage { steps: index..index + 1, key: parent, inputs });
    }
    Ok(stages)
}

/// Returns the key of a finished disk whose last layer has this key.
pub(super) fn finished(last: Key) -> Key {
    below(KeyMaker::new("finished"), last)
}

/// Returns the key of an image of such a disk.
pub(super) fn image(finished: Key, compression: Option<CompressionType>) -> Key {
    let mut maker = KeyMaker::new("image");
    maker.part("compression", compression.map_or("none", CompressionType::name).as_bytes());
    below(maker, finished)
}

fn makes_disk(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::From(_) | Instruction::Disk(_) | Instruction::Partition(_))
}

fn read(instruction: &Instruction, context: &Context, cancel: &CancelToken) -> Result<Vec<Input>, Error> {
    match instruction {
        Instruction::Copy(transfer) => inputs(context, transfer, Reads::Links, cancel),
        Instruction::Add(transfer) => inputs(context, transfer, Reads::Targets, cancel),
        _ => Ok(Vec::new()),
    }
}

impl Ground<'_> {
    /// Returns the key of what is there before the first step.
    pub(super) fn key(&self) -> Key {
        let mut maker = KeyMaker::new("ground");
        maker.part("appliance", self.appliance.as_bytes());
        maker.part("architecture", std::env::consts::ARCH.as_bytes());
        if let Some(base) = &self.base {
            maker.part("image", base.as_bytes());
        }
        maker.finish()
    }

    fn step(&self, parent: Key, instruction: &Instruction, inputs: &[Input]) -> Option<Key> {
        let mut maker = KeyMaker::new("step");
        add_instruction(&mut maker, instruction);
        match instruction {
            Instruction::Inspect => return None,
            // What a command does depends on what it reaches.
            Instruction::Run(_) => maker.part("network", format!("{:?}", self.network).as_bytes()),
            _ => inputs.iter().for_each(|input| input.add_to(&mut maker)),
        }
        Some(below(maker, parent))
    }
}

fn below(mut maker: KeyMaker, parent: Key) -> Key {
    maker.part("parent", parent.as_bytes());
    maker.finish()
}

/// As it was parsed: how it is written does not count.
fn add_instruction(maker: &mut KeyMaker, instruction: &Instruction) {
    maker.part("instruction", &serde_json::to_vec(instruction).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Imagefile;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::write(folder.path().join("f"), "one").expect("written");
            Self { folder }
        }

        fn keys(&self, text: &str, change: impl FnOnce(&mut Ground<'_>)) -> Vec<Option<Key>> {
            let plan = Plan::new(&Imagefile::parse("Imagefile", text.as_bytes()).expect("good"));
            let context = Context::open(self.folder.path()).expect("opened");
            let mut ground = Ground { base: None, appliance: "a", network: Network::User };
            change(&mut ground);
            let stages = stages(&plan, &context, &ground, &CancelToken::new());
            stages.map_err(|(_, error)| error).expect("read").iter().map(|stage| stage.key).collect()
        }
    }

    const SCRATCH: &str = "FROM scratch\nDISK 1 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\n";

    #[test]
    fn what_comes_first_counts_for_what_follows() {
        let fixture = Fixture::new();
        let keys = |steps: &str| fixture.keys(&format!("{SCRATCH}{steps}"), |_| ());
        let one = keys("RUN a\nRUN b\nCOPY f /\n");
        assert_eq!(one.len(), 4);
        assert_eq!(one, keys("# b\nrun   a\nRUN b\nCOPY \"f\" /\n"), "how it is written does not count");
        let other = keys("RUN x\nRUN b\nCOPY f /\n");
        assert_eq!(one[0], other[0]);
        assert!((1..4).all(|stage| one[stage] != other[stage]));
        let larger = fixture.keys(&SCRATCH.replace('1', "2"), |_| ());
        assert_ne!(larger[0], one[0]);
    }

    #[test]
    fn what_is_read_counts_from_where_it_is_read() {
        let fixture = Fixture::new();
        let text = format!("{SCRATCH}RUN a\nCOPY f /\nRUN b\n");
        let before = fixture.keys(&text, |_| ());
        std::fs::write(fixture.folder.path().join("f"), "two").expect("written");
        let after = fixture.keys(&text, |_| ());
        assert_eq!(before[..2], after[..2]);
        assert!(before[2] != after[2] && before[3] != after[3]);
    }

    #[test]
    fn base_appliance_and_network_count() {
        let fixture = Fixture::new();
        let keys = |change: fn(&mut Ground<'_>)| fixture.keys("FROM image\nCOPY f /\nRUN a\n", change);
        let plain = keys(|ground| ground.base = Some(Digest::of(b"1")));
        assert_eq!(plain.len(), 2);
        assert_ne!(plain[0], keys(|ground| ground.base = Some(Digest::of(b"2")))[0]);
        let appliance = keys(|ground| (ground.base, ground.appliance) = (Some(Digest::of(b"1")), "b"));
        assert_ne!(plain[0], appliance[0]);
        let network = keys(|ground| (ground.base, ground.network) = (Some(Digest::of(b"1")), Network::None));
        assert_eq!(plain[0], network[0]);
        assert_ne!(plain[1], network[1]);
    }

    #[test]
    fn nothing_is_kept_from_inspect_on() {
        let keys = Fixture::new().keys("FROM image\nRUN a\nINSPECT\nRUN b\n", |_| ());
        assert!(keys[0].is_some() && keys[1].is_none() && keys[2].is_none());
    }
}
