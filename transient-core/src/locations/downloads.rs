//! How images are downloaded.

use std::env;
use std::fmt;
use std::path::PathBuf;

/// The registry that Vagrant itself uses.
const VAGRANT_SERVER: &str = "https://vagrantcloud.com";

/// How images are downloaded: through which proxies, whose certificates are trusted, where vagrant boxes are.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloads {
    /// The proxy for http, for example `http://proxy:3128` or `socks5h://user:password@proxy`.
    pub http_proxy: Option<String>,
    /// The proxy for https.
    pub https_proxy: Option<String>,
    /// What is reached without a proxy, separated by commas: names, with all that is below them, addresses,
    /// networks (`10.0.0.0/8`), or `*`.
    pub no_proxy: Option<String>,
    /// Files in PEM format, or folders of them, with the certificate authorities to trust; none are the system's.
    pub certificates: Vec<PathBuf>,
    /// The server that knows the vagrant boxes.
    pub vagrant_server: String,
    /// What that server, and no other, is shown for boxes that are not public.
    pub vagrant_token: Option<String>,
}

impl Default for Downloads {
    fn default() -> Self {
        Self {
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            certificates: Vec::new(),
            vagrant_server: VAGRANT_SERVER.to_owned(),
            vagrant_token: None,
        }
    }
}

impl Downloads {
    pub(super) fn from_env() -> Self {
        let all = text(&["all_proxy", "ALL_PROXY"]);
        // A web server hands the header `Proxy:` of whoever asks to its programs as HTTP_PROXY.
        let http: &[&str] = match env::var_os("REQUEST_METHOD") {
            Some(_) => &["http_proxy"],
            None => &["http_proxy", "HTTP_PROXY"],
        };
        Self {
            http_proxy: text(http).or_else(|| all.clone()),
            https_proxy: text(&["https_proxy", "HTTPS_PROXY"]).or(all),
            no_proxy: text(&["no_proxy", "NO_PROXY"]),
            certificates: certificates(),
            vagrant_server: text(&["VAGRANT_SERVER_URL"]).unwrap_or_else(|| VAGRANT_SERVER.to_owned()),
            vagrant_token: text(&["VAGRANT_CLOUD_TOKEN", "ATLAS_TOKEN"]),
        }
    }
}

/// Returns the first of these variables that is not empty.
fn text(names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| env::var(name).ok()).find(|value| !value.is_empty())
}

fn certificates() -> Vec<PathBuf> {
    let file = super::path("SSL_CERT_FILE");
    let folders = env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let folders = env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty());
    file.into_iter().chain(folders).collect()
}

/// Without what is secret: a proxy may have a password.
impl fmt::Debug for Downloads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Downloads")
            .field("http_proxy", &self.http_proxy.is_some())
            .field("https_proxy", &self.https_proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("certificates", &self.certificates)
            .field("vagrant_token", &self.vagrant_token.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let downloads = Downloads {
            http_proxy: Some("http://user:secret@proxy".to_owned()),
            vagrant_server: "https://user:secret@server".to_owned(),
            vagrant_token: Some("secret".to_owned()),
            ..Downloads::default()
        };
        assert!(!format!("{downloads:?}").contains("secret"));
    }
}
