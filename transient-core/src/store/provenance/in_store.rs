//! What others need of the records: builds, tags and pruning.

use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;

use super::{Folder, HistoryStep, Identity, Parent, Provenance};
use crate::store::reservation::{SCRATCH, working};
use crate::store::scratch::Scratch;
use crate::store::{Store, failure};
use crate::{Error, ImageName};

impl Store {
    /// Returns what a build remembers of the image that it starts from, and the steps that made that.
    pub(crate) fn parent(&self, name: &ImageName, file: &Metadata) -> (Parent, Vec<HistoryStep>) {
        let identity = Identity::of(file);
        let (id, steps) = self.known(name, identity).map(|known| (known.id, known.steps)).unzip();
        (identity.parent(name, id), steps.unwrap_or_default())
    }

    /// Takes over what is known of the making of an image for another one with the same bytes, which is there.
    pub(crate) fn copy_provenance(&self, from: &ImageName, to: &ImageName) -> Result<(), Error> {
        let Some(known) = self.known(from, self.identity(from)?) else {
            return self.provenance().remove(to);
        };
        let scratch = Scratch::make(&working(self)?, SCRATCH)?;
        let written = Folder::write(to, self.identity(to)?, known, scratch.path())?;
        self.provenance().replace(to, Some(written))
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

    fn known(&self, name: &ImageName, file: Identity) -> Option<Provenance> {
        let known = self.provenance().read(name, file);
        known.inspect_err(|warning| tracing::warn!("{warning}")).unwrap_or_default()
    }

    fn identity(&self, name: &ImageName) -> Result<Identity, Error> {
        let path = self.path_of(name);
        let metadata = fs::metadata(&path).map_err(|error| failure("cannot read", &path, error))?;
        Ok(Identity::of(&metadata))
    }
}
