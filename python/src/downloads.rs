//! How images are downloaded.

use std::path::PathBuf;

use pyo3::prelude::*;
use transient_core::Downloads;

/// What `transient.options.Downloads` has.
#[derive(Debug, FromPyObject)]
pub(crate) struct GivenDownloads {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
    certificates: Vec<PathBuf>,
    vagrant_server: Option<String>,
    vagrant_token: Option<String>,
}

impl From<GivenDownloads> for Downloads {
    fn from(given: GivenDownloads) -> Self {
        let mut downloads = Self::default();
        downloads.http_proxy = given.http_proxy;
        downloads.https_proxy = given.https_proxy;
        downloads.no_proxy = given.no_proxy;
        downloads.certificates = given.certificates;
        downloads.vagrant_server = given.vagrant_server.unwrap_or(downloads.vagrant_server);
        downloads.vagrant_token = given.vagrant_token;
        downloads
    }
}
