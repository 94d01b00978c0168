//! The HTTP client: proxies, certificates, redirects.

use std::path::Path;
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Client, NoProxy, Proxy};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::patience::Patience;
use crate::{Downloads, Error, ErrorKind};

/// More than a server has a reason for.
const MOST_REDIRECTS: usize = 10;
const USER_AGENT: &str = concat!("transient/", env!("CARGO_PKG_VERSION"));

/// Makes a client. `checked` says that the bytes will be compared with a checksum.
pub(super) fn client(downloads: &Downloads, patience: &Patience, checked: bool) -> Result<Client, Error> {
    let failed =
        |error| Error::new(ErrorKind::Internal, "the HTTP client could not be made").caused_by(error);
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls(downloads)?)
        .user_agent(USER_AGENT)
        .referer(false)
        .redirect(redirects(checked))
        .connect_timeout(patience.connect)
        .read_timeout(patience.idle)
        // The environment is not ours to read here.
        .no_proxy();
    for proxy in proxies(downloads)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error: reqwest::Error| failed(error))
}

fn proxies(downloads: &Downloads) -> Result<Vec<Proxy>, Error> {
    let excepted = downloads.no_proxy.as_deref().unwrap_or_default();
    // The client takes that for all names, but not for addresses.
    if excepted.split(',').any(|entry| entry.trim() == "*") {
        return Ok(Vec::new());
    }
    let http = downloads.http_proxy.as_ref().map(|url| ("http", Proxy::http(url)));
    let https = downloads.https_proxy.as_ref().map(|url| ("https", Proxy::https(url)));
    let proxies = http.into_iter().chain(https).map(|(scheme, proxy)| match proxy {
        Ok(proxy) => Ok(proxy.no_proxy(NoProxy::from_string(excepted))),
        // Its URL is not repeated: it may have a password.
        Err(_) => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("the URL of the {scheme} proxy is none"))
                .hint(format!(
                    "correct the variable {scheme}_proxy, for example to http://proxy.example.com:3128"
                )))
        }
    });
    proxies.collect()
}

/// Follows redirects, but does not give up the protection that the first URL promised.
fn redirects(checked: bool) -> Policy {
    Policy::custom(move |attempt| {
        let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > MOST_REDIRECTS {
            attempt.error("it redirects too often")
        } else if was_safe && attempt.url().scheme() == "http" && !checked {
            attempt.error("it redirects from https to http, where anybody can change what is downloaded")
        } else {
            attempt.follow()
        }
    })
}

fn tls(downloads: &Downloads) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // A host may have old certificates that nobody understands.
    let (known, unknown) = roots.add_parsable_certificates(authorities(&downloads.certificates)?);
    tracing::debug!("{known} certificate authorities are trusted, {unknown} are not understood");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "TLS cannot be used").caused_by(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Reads the certificates of those who are trusted. The system's may be none: http works without.
fn authorities(paths: &[std::path::PathBuf]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut all = Vec::new();
    for path in paths {
        let loaded = load(path);
        if loaded.certs.is_empty() {
            let message = format!("there is no certificate in '{}'", path.display());
            let error = Error::new(ErrorKind::InvalidArgument, message)
                .hint("SSL_CERT_FILE names a file in PEM format, SSL_CERT_DIR a folder of them");
            return Err(match loaded.errors.into_iter().next() {
                Some(cause) => error.caused_by(cause),
                None => error,
            });
        }
        all.extend(loaded.certs);
    }
    if paths.is_empty() {
        all.extend(openssl_probe::candidate_cert_dirs().flat_map(|folder| load(folder).certs));
    }
    Ok(all)
}

fn load(path: &Path) -> rustls_native_certs::CertificateResult {
    match path.is_dir() {
        true => rustls_native_certs::load_certs_from_paths(None, Some(path)),
        false => rustls_native_certs::load_certs_from_paths(Some(path), None),
    }
}
