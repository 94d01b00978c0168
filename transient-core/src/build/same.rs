//! Images that are there already: of the same finished disk, written in the same way.

use std::fs::File;

use super::disk::WorkingDisk;
use super::stage;
use super::work::Work;
use crate::Store;
use crate::layer::{Digest, Key};
use crate::store::{Recipe, Told};

impl Work<'_> {
    /// Returns an image of the backend that is what this build would make, and what is known of it. None of its layers
    /// need be there any more; one that is there must be that of which it was made.
    pub(super) fn same_image(&self, store: &Store) -> Option<(File, Told)> {
        if self.options.no_cache_from.is_some() || self.options.local {
            return None;
        }
        let finished = self.finished_key()?;
        let keys: Vec<Key> = self.stages.iter().filter_map(|stage| stage.key).chain([finished]).collect();
        let fits = |recipe: &Recipe| {
            let same = |(key, identity): (&Key, &Digest)| {
                self.layers.find(*key).is_none_or(|layer| layer.record.identity() == *identity)
            };
            recipe.layers.len() == keys.len() && keys.iter().zip(&recipe.layers).all(same)
        };
        store.same_image(&self.options.name, &stage::image(finished, self.options.compress), fits)
    }

    /// Returns what later builds know the image of this disk by, if all of it is in layers.
    pub(super) fn recipe(&self, disk: &WorkingDisk<'_>) -> Option<Recipe> {
        let finished = self.finished_key()?;
        let chain = disk.chain();
        (chain.last()?.record.key == finished).then(|| Recipe {
            key: stage::image(finished, self.options.compress),
            layers: chain.iter().map(|layer| layer.record.identity()).collect(),
        })
    }
}
