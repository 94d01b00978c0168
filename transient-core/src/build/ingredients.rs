//! What the keys of a build's stages were made of, remembered for the next build of the same image to be compared with.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::stage::{Ground, Stage};
use crate::builder::Network;
use crate::imagefile::Instruction;
use crate::layer::{Digest, Input, Key};
use crate::store::without_secrets_of_urls;

/// Where builds are remembered, in the cache.
const FOLDER: &str = "builds";
/// The form of these files; another one is not read.
const FORM: u32 = 1;
/// How many files of build directories are remembered one by one, as long as their names are not extreme.
const MOST_INPUTS: usize = 50_000;
/// A longer file is not read.
const LONGEST: u64 = 32 << 20;
/// How many images are remembered.
const MOST_IMAGES: usize = 100;

/// What a build is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ingredients {
    form: u32,
    /// The content of the image that it is FROM.
    pub(super) base: Option<Digest>,
    pub(super) appliance: String,
    pub(super) stages: Vec<Part>,
}

/// What a stage adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The number of its first step.
    pub(super) step: usize,
    /// Without secrets.
    pub(super) instructions: Vec<String>,
    /// Where it counts.
    pub(super) network: Option<String>,
    pub(super) key: Option<Key>,
    /// `None` when there are too many to remember.
    pub(super) inputs: Option<Vec<Input>>,
}

impl Ingredients {
    pub(super) fn of(plan: &Plan, ground: &Ground<'_>, stages: &[Stage]) -> Self {
        let mut room = MOST_INPUTS;
        let stages = stages.iter().map(|stage| Part::of(plan, ground.network, stage, &mut room)).collect();
        Self { form: FORM, base: ground.base, appliance: ground.appliance.to_owned(), stages }
    }

    /// Returns those of the last build of the image that is to be at `image`, if they are known.
    pub(super) fn recall(cache: &Path, image: &Path) -> Option<Self> {
        let mut text = Vec::new();
        File::open(file_of(cache, image)).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok().filter(|known: &Self| known.form == FORM)
    }

    /// Remembers them for the next build. A build does not fail by what is only for explanations.
    pub(super) fn remember(&self, cache: &Path, image: &Path) {
        if let Err(error) = self.write(&cache.join(FOLDER), &file_of(cache, image)) {
            tracing::debug!("the next build of '{}' cannot be explained: {error}", image.display());
        }
    }

    fn write(&self, folder: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(folder)?);
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.persist(path)?;
        forget_the_oldest(folder)
    }
}

impl Part {
    fn of(plan: &Plan, network: Network, stage: &Stage, room: &mut usize) -> Self {
        let steps = &plan.steps[stage.steps.clone()];
        let runs = steps.iter().any(|step| matches!(step.instruction, Instruction::Run(_)));
        let left = room.checked_sub(stage.inputs.len());
        *room = left.unwrap_or(*room);
        Self {
            step: stage.steps.start + 1,
            instructions: steps.iter().map(|step| without_secrets_of_urls(&step.shown())).collect(),
            network: runs.then(|| format!("{network:?}").to_lowercase()),
            key: stage.key,
            inputs: left.map(|_| stage.inputs.iter().map(printable).collect()),
        }
    }
}

/// A path that is no text could not be written down.
fn printable(input: &Input) -> Input {
    Input { path: input.path.to_string_lossy().into_owned().into(), ..input.clone() }
}

/// A name of any length becomes one of the same length.
fn file_of(cache: &Path, image: &Path) -> PathBuf {
    let image = std::path::absolute(image).unwrap_or_else(|_| image.to_owned());
    cache.join(FOLDER).join(format!("{}.json", Digest::of(image.as_os_str().as_encoded_bytes())))
}

fn forget_the_oldest(folder: &Path) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.flatten();
    let mut known: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    known.sort_unstable();
    let over = known.len().saturating_sub(MOST_IMAGES);
    known[..over].iter().try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Ingredients {
        let input =
            Input { path: "f".into(), kind: "file".to_owned(), mode: 0o644, digest: Digest::of(b"f") };
        let part = Part {
            step: 2,
            instructions: vec!["COPY f /".to_owned()],
            network: None,
            key: Some(Digest::of(b"key")),
            inputs: Some(vec![input]),
        };
        Ingredients { form: FORM, base: None, appliance: "a".to_owned(), stages: vec![part] }
    }

    #[test]
    fn what_is_damaged_or_of_another_form_is_not_known() {
        let cache = tempfile::tempdir().expect("a folder");
        let image = Path::new("/backend/image");
        assert_eq!(Ingredients::recall(cache.path(), image), None);
        some().remember(cache.path(), image);
        assert_eq!(Ingredients::recall(cache.path(), image), Some(some()));
        assert_eq!(Ingredients::recall(cache.path(), Path::new("/another/image")), None);
        let file = file_of(cache.path(), image);
        let text = fs::read_to_string(&file).expect("there");
        for damaged in ["", "{}", &text[..text.len() / 2], &text.replace("\"form\":1", "\"form\":0")] {
            fs::write(&file, damaged).expect("written");
            assert_eq!(Ingredients::recall(cache.path(), image), None, "{damaged}");
        }
    }

    #[test]
    fn only_so_many_images_are_remembered() {
        let cache = tempfile::tempdir().expect("a folder");
        for number in 0..MOST_IMAGES + 5 {
            some().remember(cache.path(), Path::new(&format!("/{number}")));
        }
        assert_eq!(fs::read_dir(cache.path().join(FOLDER)).expect("there").count(), MOST_IMAGES);
        assert!(Ingredients::recall(cache.path(), Path::new("/104")).is_some());
    }
}
