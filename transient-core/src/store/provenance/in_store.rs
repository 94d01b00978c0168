//! What others need of the records: builds, tags and pruning.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::PathBuf;

use super::{Folder, HistoryStep, Identity, Parent, Recipe, Told};
use crate::layer::Key;
use crate::store::reservation::{SCRATCH, working};
use crate::store::scratch::Scratch;
use crate::store::tag::is_writable;
use crate::store::{Store, failure, listing};
use crate::{Error, ImageName};

impl Store {
    /// Returns what a build remembers of the image that it starts from, and the steps that made that.
    pub(crate) fn parent(&self, name: &ImageName, file: &Metadata) -> (Parent, Vec<HistoryStep>) {
        let identity = Identity::of(file);
        let known = self.known(name, identity).map(|told| told.provenance);
        let (id, steps) = known.map(|known| (known.id, known.steps)).unzip();
        (identity.parent(name, id), steps.unwrap_or_default())
    }

    /// Takes over what is known of the making of an image for another one with the same bytes, which is there.
    pub(crate) fn copy_provenance(&self, from: &ImageName, to: &ImageName) -> Result<(), Error> {
        let Some(known) = self.known(from, Identity::of(&self.metadata(from)?)) else {
            return self.provenance().remove(to);
        };
        let scratch = Scratch::make(&working(self)?, SCRATCH)?;
        let written = Folder::write(to, &self.metadata(to)?, known, scratch.path())?;
        self.provenance().replace(to, Some(written))
    }

    /// Returns an image that was made by a recipe, open, of whose layers `fits` says whether they are still the right
    /// ones: that of this name, else the newest. Its file is read-only, and was not written to since.
    pub(crate) fn same_image(
        &self,
        name: &ImageName,
        key: &Key,
        fits: impl Fn(&Recipe) -> bool,
    ) -> Option<(File, Told)> {
        let found = |name: &ImageName| {
            let file = listing::open(&self.path_of(name)).ok().flatten()?;
            let metadata = file.metadata().ok()?;
            let told = self.provenance().recipe(name, &metadata, key)?;
            let whole = || listing::read_open(&file, &self.path_of(name), name.as_str()).is_ok();
            (!is_writable(&metadata) && told.recipe.as_ref().is_some_and(&fits) && whole())
                .then_some((file, told))
        };
        found(name).or_else(|| {
            let others = self.provenance().mentioning(key);
            others
                .iter()
                .filter_map(found)
                .max_by(|(_, one), (_, other)| one.provenance.created.cmp(&other.provenance.created))
        })
    }

    /// Returns the files of records that are about no image that is there. They may be removed.
    pub(crate) fn stray_provenance(&self) -> Vec<PathBuf> {
        let is_stray = |path: &PathBuf| {
            let image = path.file_name().map(|name| fs::metadata(self.locations.backend.join(name)));
            match image {
                Some(Ok(image)) => !Folder::is_about(path, Identity::of(&image)),
                Some(Err(error)) => error.kind() == io::ErrorKind::NotFound,
                None => false,
            }
        };
        self.provenance().files().into_iter().filter(is_stray).collect()
    }

    fn known(&self, name: &ImageName, file: Identity) -> Option<Told> {
        let known = self.provenance().read(name, file);
        known.inspect_err(|warning| tracing::warn!("{warning}")).unwrap_or_default()
    }

    fn metadata(&self, name: &ImageName) -> Result<Metadata, Error> {
        let path = self.path_of(name);
        fs::metadata(&path).map_err(|error| failure("cannot read", &path, error))
    }
}
