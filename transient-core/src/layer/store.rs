//! The layers of a store's cache, as users see them.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::folder::Listed;
use super::{Key, Layers};
use crate::store::rfc3339;
use crate::{Error, ErrorKind, Store};

/// How many digits of a key tell one layer from all others, with more than luck.
const SHORTEST_KEY: usize = 4;

/// A layer of the cache: what a step of a build did, which the next build need not do again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CachedLayer {
    /// What it is found by, 64 hexadecimal digits.
    pub key: String,
    /// The key of the layer that it stands on; `None` on an empty disk, or on an image.
    pub parent: Option<String>,
    /// The instruction that made it, the last of several; empty for the end of a build.
    pub instruction: String,
    /// What it occupies, in bytes.
    pub size: u64,
    /// When a build last used it, as in RFC 3339, in UTC.
    pub used: String,
}

impl CachedLayer {
    fn new(layer: &Listed) -> Self {
        let made = &layer.record.made;
        let used = layer.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            key: layer.record.key.to_string(),
            parent: made.parent.map(|parent| parent.to_string()),
            instruction: made.steps.last().map(|step| step.instruction.clone()).unwrap_or_default(),
            size: layer.size,
            used: rfc3339(used.as_secs().try_into().unwrap_or(0), used.subsec_nanos()),
        }
    }
}

impl Store {
    /// Lists the layers of the cache, the one that was used last at the end.
    ///
    /// ```no_run
    /// use transient_core::{Locations, Store};
    ///
    /// let store = Store::new(Locations::from_env()?);
    /// let size: u64 = store.layers().iter().map(|layer| layer.size).sum();
    /// if size > 1 << 30 {
    ///     store.prune_layers(1 << 30);
    /// }
    /// # Ok::<(), transient_core::Error>(())
    /// ```
    pub fn layers(&self) -> Vec<CachedLayer> {
        let mut listed = self.cached().list();
        listed.sort_by_key(|layer| layer.used);
        listed.iter().map(CachedLayer::new).collect()
    }

    /// Removes the layers that were not used for the longest time, until those that are left occupy no more than
    /// `limit` bytes; none that a build uses. Returns how many bytes that freed.
    pub fn prune_layers(&self, limit: u64) -> u64 {
        self.cached().prune(limit)
    }

    /// Removes layers, and all that stands on them. A key may be cut short as long as it is that of one layer alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] when there is no such layer, or several, or a build uses one; then those before it
    /// are removed.
    pub fn remove_layers(&self, keys: &[impl AsRef<str>]) -> Result<(), Error> {
        let layers = self.cached();
        let listed = layers.list();
        let mut doomed = HashSet::new();
        for key in keys {
            doomed.insert(find(&listed, key.as_ref())?);
        }
        // What stands on them is of no use without them.
        let stands = |layer: &&Listed, doomed: &HashSet<Key>| {
            layer.record.made.parent.is_some_and(|parent| doomed.contains(&parent))
                && !doomed.contains(&layer.record.key)
        };
        while let Some(layer) = listed.iter().find(|layer| stands(layer, &doomed)) {
            doomed.insert(layer.record.key);
        }
        for key in doomed {
            layers.throw_away(key).map_err(|error| {
                let message = format!("the layer {key} cannot be removed");
                Error::new(ErrorKind::InvalidArgument, message)
                    .caused_by(error)
                    .hint("a build may be using it")
            })?;
        }
        Ok(())
    }

    fn cached(&self) -> Layers {
        Layers::below(&self.locations().cache)
    }
}

fn find(listed: &[Listed], start: &str) -> Result<Key, Error> {
    let mut found =
        listed.iter().map(|layer| layer.record.key).filter(|key| key.to_string().starts_with(start));
    let error = |message: String| {
        Err(Error::new(ErrorKind::InvalidArgument, message).hint("`transient cache ls` lists the layers"))
    };
    match (start.len() >= SHORTEST_KEY, found.next(), found.next()) {
        (false, ..) => error(format!("'{start}' is too short for the key of a layer")),
        (_, None, _) => error(format!("there is no layer '{start}' in the cache")),
        (_, Some(_), Some(_)) => error(format!("several layers have keys that begin with '{start}'")),
        (_, Some(key), None) => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::super::{Digest, Made};
    use super::*;
    use crate::Locations;
    use crate::store::HistoryStep;

    fn store_with(layers: &[(&str, Option<&str>)]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(Locations::below(folder.path()));
        let cached = Layers::open(&store.locations().cache).expect("opened");
        for (name, parent) in layers {
            let scratch = cached.scratch().expect("made");
            let disk = scratch.path().join("1.qcow2");
            fs::write(&disk, name.repeat(5000)).expect("written");
            let made = Made {
                parent: parent.map(|parent| Digest::of(parent.as_bytes())),
                below: None,
                steps: vec![HistoryStep::now("it", format!("RUN {name}"), Instant::now())],
                accelerator: "tcg".to_owned(),
                since: 1,
                mounts: Vec::new(),
            };
            drop(cached.publish(Digest::of(name.as_bytes()), made, &disk, false).expect("published"));
        }
        (folder, store)
    }

    fn names(store: &Store) -> Vec<String> {
        store.layers().into_iter().map(|layer| layer.instruction).collect()
    }

    #[test]
    fn layers_are_listed_and_removed_with_what_stands_on_them() {
        let (_folder, store) =
            store_with(&[("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("a"))]);
        assert_eq!(names(&store), ["RUN a", "RUN b", "RUN c", "RUN d"]);
        let key = Digest::of(b"b").to_string();
        assert_eq!(store.layers()[2].parent, Some(key.clone()));
        store.remove_layers(&[&key[..12]]).expect("removed");
        assert_eq!(names(&store), ["RUN a", "RUN d"]);
        assert!(store.prune_layers(0) > 0 && names(&store).is_empty());
    }

    #[test]
    fn keys_that_name_no_layer_are_refused() {
        let (_folder, store) = store_with(&[("a", None)]);
        for key in ["", "abc", "not a key", &"0".repeat(64)] {
            let error = store.remove_layers(&[key]).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}");
        }
        assert_eq!(names(&store), ["RUN a"]);
    }

    #[test]
    fn a_cache_that_is_not_there_has_no_layers_and_stays_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(Locations::below(folder.path().join("store")));
        assert!(store.layers().is_empty() && store.prune_layers(0) == 0);
        assert!(!folder.path().join("store").exists());
    }
}
