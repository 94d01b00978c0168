//! What a build remembers of itself, to be told beside its image.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::plan::Step;
use crate::store::{HistoryStep, MadeBy, Making, Parent, without_secrets_of_urls};
use crate::{ImageName, Store};

/// The steps so far, and where they started from.
pub(super) struct Log {
    image: String,
    parent: Option<Parent>,
    steps: Vec<HistoryStep>,
    accelerator: String,
}

impl Log {
    pub(super) fn new(image: &ImageName) -> Self {
        let (image, accelerator) = (image.as_str().to_owned(), String::new());
        Self { image, parent: None, steps: Vec::new(), accelerator }
    }

    /// Adds the image that the build starts from, whose bytes are at `file`, with the steps that made it.
    pub(super) fn start_from(&mut self, store: &Store, name: &ImageName, file: &Path) {
        // A build does not fail by what it only remembers.
        let Ok(metadata) = fs::metadata(file) else { return };
        let (parent, steps) = store.parent(name, &metadata);
        self.parent = Some(parent);
        self.steps = steps;
    }

    pub(super) fn booted(&mut self, accelerator: &str) {
        self.accelerator = accelerator.to_owned();
    }

    /// Returns how many steps there are so far.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns the steps after the first so many.
    pub(super) fn after(&self, count: usize) -> &[HistoryStep] {
        &self.steps[count..]
    }

    /// Adds steps that were done by another build, perhaps for another image.
    pub(super) fn cached(&mut self, steps: &[HistoryStep]) {
        let own = |step: &HistoryStep| HistoryStep { image: self.image.clone(), ..step.clone() };
        self.steps.extend(steps.iter().map(own));
    }

    /// Adds a step that is done.
    pub(super) fn step(&mut self, step: &Step, started: Instant) {
        let instruction = without_secrets_of_urls(&step.shown());
        self.steps.push(HistoryStep::now(&self.image, instruction, started));
    }

    /// Returns how an image was made of the steps so far.
    pub(super) fn making_of(&self, image: &ImageName, appliance: &str, accelerator: &str) -> Making {
        let named = |step: &HistoryStep| match step.image == self.image {
            true => HistoryStep { image: image.as_str().to_owned(), ..step.clone() },
            false => step.clone(),
        };
        let (parent, accelerator) = (self.parent.clone(), accelerator.to_owned());
        let steps = self.steps.iter().map(named).collect();
        Making { made_by: MadeBy::Build { parent, accelerator, appliance: appliance.to_owned() }, steps }
    }

    pub(super) fn into_making(self, appliance: &str) -> Making {
        let Self { parent, steps, accelerator, .. } = self;
        Making { made_by: MadeBy::Build { parent, accelerator, appliance: appliance.to_owned() }, steps }
    }
}
