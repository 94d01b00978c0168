//! The disk of a build: files that stand on each other, of which only the highest is written to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::builder::Builder;
use crate::layer::{Key, Layer, Layers, Made, failed};
use crate::process::qemu_img;
use crate::qemu::Disk;
use crate::{CancelToken, Error};

/// The disk, from the image or the layer that it begins with.
pub(super) struct WorkingDisk<'a> {
    layers: &'a Layers,
    /// Where files are made.
    folder: &'a Path,
    base: Option<PathBuf>,
    /// In bytes.
    size: u64,
    /// Everything that it stands on but the base, the lowest first.
    chain: Vec<Layer>,
    /// How many files were made.
    made: usize,
}

impl<'a> WorkingDisk<'a> {
    /// A disk whose files are made in `folder`.
    pub(super) fn new(layers: &'a Layers, folder: &'a Path) -> Self {
        Self { layers, folder, base: None, size: 0, chain: Vec::new(), made: 0 }
    }

    /// Begins with nothing on `size` bytes.
    pub(super) fn begin_empty(&mut self, size: u64) {
        self.size = size;
    }

    /// Begins with an image, whose disk has that size.
    pub(super) fn begin_with_image(&mut self, size: u64, image: PathBuf) {
        (self.size, self.base) = (size, Some(image));
    }

    /// Goes on from these layers.
    pub(super) fn stand_on(&mut self, chain: Vec<Layer>) {
        self.chain = chain;
    }

    pub(super) fn chain(&self) -> &[Layer] {
        &self.chain
    }

    /// Makes the file that is written to, and returns the whole for QEMU.
    pub(super) fn open(&mut self, cancel: &CancelToken) -> Result<Disk, Error> {
        qemu_img::create_empty(&self.empty(), self.size, cancel)?;
        Ok(Disk { path: self.next()?, below: self.below(), durable: false })
    }

    /// Keeps what the steps so far did as a layer, while the builder goes on. `replace` is whether one that is there
    /// already is replaced.
    pub(super) async fn keep(
        &mut self,
        builder: &mut Builder,
        key: Key,
        made: Made,
        replace: bool,
    ) -> Result<(), Error> {
        let done = self.go_on(builder).await?;
        self.publish(key, made, &done, replace)
    }

    /// Has what the steps so far did stand for itself, for this build alone, while the builder goes on.
    pub(super) async fn set_aside(&mut self, builder: &mut Builder, made: Made) -> Result<(), Error> {
        let done = self.go_on(builder).await?;
        let layer = self.layers.set_aside(Key::none(), made, &done)?;
        self.chain.push(layer);
        Ok(())
    }

    /// Keeps the disk as it is when the builder has ended.
    pub(super) fn keep_finished(&mut self, key: Key, made: Made, replace: bool) -> Result<(), Error> {
        self.publish(key, made, &self.top(), replace)?;
        self.made = 0;
        Ok(())
    }

    /// Has the builder write to a new file, and returns the one before.
    async fn go_on(&mut self, builder: &mut Builder) -> Result<PathBuf, Error> {
        let done = self.top();
        let next = self.next()?;
        builder.snapshot(&next).await?;
        Ok(done)
    }

    fn publish(&mut self, key: Key, made: Made, done: &Path, replace: bool) -> Result<(), Error> {
        let layer = self.layers.publish(key, made, done, replace)?;
        self.chain.push(layer);
        Ok(())
    }

    /// Returns all files, the lowest first.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = self.below();
        files.extend((self.made > 0).then(|| self.top()));
        files
    }

    fn below(&self) -> Vec<PathBuf> {
        self.base.iter().cloned().chain(self.chain.iter().map(|layer| layer.disk.clone())).collect()
    }

    fn empty(&self) -> PathBuf {
        self.folder.join("empty.qcow2")
    }

    fn top(&self) -> PathBuf {
        self.folder.join(format!("{}.qcow2", self.made))
    }

    fn next(&mut self) -> Result<PathBuf, Error> {
        self.made += 1;
        let top = self.top();
        fs::copy(self.empty(), &top).map_err(|error| failed("cannot write", &top, error))?;
        Ok(top)
    }
}
