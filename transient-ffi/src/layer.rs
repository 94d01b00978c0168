//! The layers that builds keep for the next ones.

use std::ffi::{CString, c_char};

use transient_core::CachedLayer;

use crate::boundary::{Failure, Out, borrow, fallible, free, null, read, write};
use crate::error::transient_error;
use crate::status::transient_status;
use crate::store::transient_store;
use crate::text::{self, address, c_string};

/// A layer of the cache. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_cached_layer {
    /// What it is found by, 64 hexadecimal digits.
    pub key: *const c_char,
    /// The key of the layer that it stands on; NULL on an empty disk, or on an image.
    pub parent: *const c_char,
    /// The instruction that made it, the last of several; empty for the end of a build.
    pub instruction: *const c_char,
    /// What it occupies, in bytes.
    pub size: u64,
    /// When a build last used it, as in RFC 3339, in UTC.
    pub used: *const c_char,
}

/// The layers of a cache. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_layer_list {
    layers: Vec<transient_cached_layer>,
    _strings: Vec<CString>,
}

// SAFETY: nothing in it is changed once it is made, and the views point into what it owns.
unsafe impl Send for transient_layer_list {}
// SAFETY: as above.
unsafe impl Sync for transient_layer_list {}

impl transient_layer_list {
    fn new(listed: &[CachedLayer]) -> Self {
        let mut strings = Vec::new();
        let mut keep = |text: &str| {
            strings.push(c_string(text));
            address(strings.last())
        };
        let layers = listed
            .iter()
            .map(|layer| transient_cached_layer {
                key: keep(&layer.key),
                parent: layer.parent.as_deref().map_or(std::ptr::null(), &mut keep),
                instruction: keep(&layer.instruction),
                size: layer.size,
                used: keep(&layer.used),
            })
            .collect();
        Self { layers, _strings: strings }
    }
}

/// Lists the layers of the store's cache: what steps of builds did, which the next build need not do again. The one
/// that was used last is at the end. The caller owns `*list_out`: `transient_layer_list_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_layers(
    store: *const transient_store,
    list_out: *mut *mut transient_layer_list,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(list_out, "list_out")?;
        out.give(transient_layer_list::new(&borrow(store, "store")?.store.layers()));
        Ok(())
    })
}

/// Returns how many there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_layer_list_len(list: *const transient_layer_list) -> usize {
    read(list, |list| list.layers.len())
}

/// Returns one; NULL if there are not so many. Lives as long as `list`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_layer_list_get(
    list: *const transient_layer_list,
    index: usize,
) -> *const transient_cached_layer {
    read(list, |list| list.layers.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Frees what `transient_store_layers` gave. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_layer_list_free(list: *mut transient_layer_list) {
    free(list);
}

/// Removes the layers that were not used for the longest time, until those that are left occupy no more than `limit`
/// bytes; none that a build uses. `freed_out` may be NULL; else it gets how many bytes that freed. Any thread may call
/// this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_prune_layers(
    store: *const transient_store,
    limit: u64,
    freed_out: *mut u64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let freed = borrow(store, "store")?.store.prune_layers(limit);
        write(freed_out, freed);
        Ok(())
    })
}

/// Removes layers, and all that stands on them. `keys` has `keys_len` strings; a key may be cut short as long as it is
/// that of one layer alone. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when there is no such layer, or several, or a build uses one.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_remove_layers(
    store: *const transient_store,
    keys: *const *const c_char,
    keys_len: usize,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let store = borrow(store, "store")?;
        if keys_len > 0 && keys.is_null() {
            return Err(null("keys"));
        }
        // SAFETY: not null, and by contract that many strings.
        let key = |index| text::string(unsafe { *keys.add(index) }, "keys").map(str::to_owned);
        let keys = (0..keys_len).map(key).collect::<Result<Vec<_>, Failure>>()?;
        Ok(store.store.remove_layers(&keys)?)
    })
}
