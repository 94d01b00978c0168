//! Why a step is carried out: what the build is made of, compared with the last build of the same image.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ingredients::{Ingredients, Part};
use crate::Event;
use crate::layer::{Digest, Input};

/// How many differences are told one by one.
const TOLD: usize = 10;
/// How much of a digest tells it from another one, for people.
const SHORT: usize = 12;

/// Something that is not as in the last build of the same image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// What differs.
    pub kind: DifferenceKind,
    /// The file that it is about, from the build directory; `None` when it is about no file.
    pub path: Option<String>,
    /// How it was: an instruction, a mode, a type, or a digest, never contents. `None` when it was not there.
    pub before: Option<String>,
    /// How it is now; `None` when it is not there any more.
    pub now: Option<String>,
    /// The same in words, in one line.
    pub message: String,
}

/// What a [`Difference`] is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DifferenceKind {
    /// The text of an instruction, in its usual form.
    Instruction,
    /// The content of the image that the build is FROM.
    BaseImage,
    /// The appliance, which has the kernel and all programs that make filesystems.
    Appliance,
    /// Whether RUN reaches a network.
    Network,
    /// Whether there is such a file.
    Existence,
    /// The type: `file`, `directory`, `link` or `special`.
    FileType,
    /// The mode of a file, in octal digits.
    Mode,
    /// The bytes of a file.
    Content,
    /// Where a link leads.
    LinkTarget,
}

/// What there is of a build in the cache.
pub(super) struct Found {
    /// How many stages.
    pub(super) stages: usize,
    /// Whether also the end of the build.
    pub(super) end: bool,
    /// Whether the next stage is done whatever is in the cache.
    pub(super) forced: bool,
}

/// Explains why the first stage that is not there is carried out. `image` is the name of the new image.
pub(super) fn explain(found: &Found, now: &Ingredients, last: Option<&Ingredients>, image: &str) -> Event {
    let Some(stage) = now.stages.get(found.stages) else {
        let reason = match found.end {
            true => "every step is in the cache",
            false => "every step is in the cache, and only the end of the build is done again",
        };
        return Event::Explanation {
            step: None,
            reason: reason.to_owned(),
            differences: Vec::new(),
            more: 0,
        };
    };
    let (why, mut differences) = match last {
        _ if found.forced => ("as was asked for, whatever is in the cache".to_owned(), Vec::new()),
        _ if stage.key.is_none() => ("because nothing is kept of what INSPECT does".to_owned(), Vec::new()),
        None => (format!("and there is no earlier build of '{image}' to compare with"), Vec::new()),
        Some(last) => compared(found.stages, now, last, image),
    };
    let more = differences.len().saturating_sub(TOLD);
    differences.truncate(TOLD);
    let reason = format!("step {} is carried out {why}", stage.step);
    Event::Explanation { step: Some(stage.step), reason, differences, more }
}

fn compared(index: usize, now: &Ingredients, last: &Ingredients, image: &str) -> (String, Vec<Difference>) {
    let stage = &now.stages[index];
    if last.stages.get(index).is_some_and(|before| before.key == stage.key) {
        let why = format!(
            "though nothing differs from the last build of '{image}': that build did not get beyond it, or its layer \
             is gone from the cache"
        );
        return (why, Vec::new());
    }
    let ground = ground(now, last);
    if !ground.is_empty() {
        return (
            format!("because all steps stand on something else than in the last build of '{image}'"),
            ground,
        );
    }
    // A key has that of the stage before in it: the first one that differs is why all others do.
    let first = (0..index)
        .find(|&number| last.stages.get(number).is_none_or(|before| before.key != now.stages[number].key));
    let (number, what) = match first {
        Some(number) => (number, format!("step {}, before it,", now.stages[number].step)),
        None => (index, "it".to_owned()),
    };
    let differences = now.stages[number].differences(last.stages.get(number));
    let mut why = format!("because {what} differs from the last build of '{image}'");
    if differences.is_empty() {
        why.push_str(" in what is not remembered: a secret in a URL, or one of very many files");
    }
    (why, differences)
}

fn ground(now: &Ingredients, last: &Ingredients) -> Vec<Difference> {
    let base = |base: Option<Digest>| base.map_or_else(|| "scratch".to_owned(), |digest| digest.to_string());
    let (base, was) = (base(now.base), base(last.base));
    let mut differences = Vec::new();
    if base != was {
        let words = format!("the digest of the base image was {}, and is {}", short(&was), short(&base));
        differences.push(Difference::new(DifferenceKind::BaseImage, None, Some(was), Some(base), words));
    }
    let (is, was) = (now.appliance.clone(), last.appliance.clone());
    if is != was {
        let words = format!("the appliance was {}, and is {}", short(&was), short(&is));
        differences.push(Difference::new(DifferenceKind::Appliance, None, Some(was), Some(is), words));
    }
    differences
}

impl Part {
    fn differences(&self, before: Option<&Self>) -> Vec<Difference> {
        let none = &[][..];
        let were = before.map_or(none, |before| &before.instructions);
        let mut differences: Vec<_> = (0..self.instructions.len().max(were.len()))
            .map(|index| (were.get(index), self.instructions.get(index)))
            .filter(|(was, is)| was != is)
            .map(|(was, is)| instruction(was, is))
            .collect();
        let Some(before) = before else { return differences };
        if let (Some(was), Some(is)) = (&before.network, &self.network)
            && was != is
        {
            let words = format!("the network was '{was}', and is '{is}'");
            let (was, is) = (Some(was.clone()), Some(is.clone()));
            differences.push(Difference::new(DifferenceKind::Network, None, was, is, words));
        }
        if let (Some(were), Some(are)) = (&before.inputs, &self.inputs) {
            differences.extend(files(were, are));
        }
        differences
    }
}

fn instruction(was: Option<&String>, is: Option<&String>) -> Difference {
    let words = match (was, is) {
        (Some(was), Some(is)) => format!("the instruction was '{was}', and is '{is}'"),
        (None, Some(is)) => format!("'{is}' was added"),
        (Some(was), None) => format!("'{was}' was removed"),
        (None, None) => String::new(),
    };
    Difference::new(DifferenceKind::Instruction, None, was.cloned(), is.cloned(), words)
}

/// Compares what was read from the build directory, in the order of the paths.
fn files(were: &[Input], are: &[Input]) -> Vec<Difference> {
    // A source that is named twice is there twice, the same both times.
    let mut pairs: BTreeMap<&std::path::Path, (Option<&Input>, Option<&Input>)> = BTreeMap::new();
    were.iter().for_each(|input| pairs.entry(&input.path).or_default().0 = Some(input));
    are.iter().for_each(|input| pairs.entry(&input.path).or_default().1 = Some(input));
    pairs.into_values().flat_map(|(was, is)| file(was, is)).collect()
}

fn file(was: Option<&Input>, is: Option<&Input>) -> Vec<Difference> {
    let Some(some) = is.or(was) else { return Vec::new() };
    let path = some.path.display().to_string();
    let differs = |kind, was: String, is: String, words: String| {
        vec![Difference::new(kind, Some(path.clone()), Some(was), Some(is), words)]
    };
    let (Some(was), Some(is)) = (was, is) else {
        let words = format!("'{path}' was {}", if is.is_some() { "added" } else { "removed" });
        let (was, is) = (was.map(|input| input.kind.clone()), is.map(|input| input.kind.clone()));
        return vec![Difference::new(DifferenceKind::Existence, Some(path), was, is, words)];
    };
    if was.kind != is.kind {
        let words = format!("'{path}' was a {}, and is a {}", was.kind, is.kind);
        return differs(DifferenceKind::FileType, was.kind.clone(), is.kind.clone(), words);
    }
    let mut differences = Vec::new();
    if was.mode != is.mode {
        let (was, is) = (format!("{:04o}", was.mode), format!("{:04o}", is.mode));
        let words = format!("the mode of '{path}' was {was}, and is {is}");
        differences.extend(differs(DifferenceKind::Mode, was, is, words));
    }
    if was.digest != is.digest {
        let (kind, what) = match is.kind.as_str() {
            "link" => (DifferenceKind::LinkTarget, "the target of the link"),
            _ => (DifferenceKind::Content, "the bytes of"),
        };
        let (was, is) = (was.digest.to_string(), is.digest.to_string());
        let words = format!("the digest of {what} '{path}' was {}, and is {}", short(&was), short(&is));
        differences.extend(differs(kind, was, is, words));
    }
    differences
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

impl Difference {
    fn new(
        kind: DifferenceKind,
        path: Option<String>,
        before: Option<String>,
        now: Option<String>,
        message: String,
    ) -> Self {
        Self { kind, path, before, now, message }
    }
}

#[cfg(test)]
mod tests;
