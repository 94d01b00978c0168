//! What a registry says about a box.

use serde::Deserialize;

use super::version;
use crate::image::Checksum;
use crate::{Error, ErrorKind};

/// The kinds of boxes whose disk is one that QEMU reads, the best first.
const PROVIDERS: [&str; 2] = ["libvirt", "qemu"];
/// What builder VMs are.
const ARCHITECTURE: &str = "amd64";
/// How many versions an error lists.
const LISTED: usize = 20;

/// A box, with all its versions.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    name: String,
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    providers: Vec<Provider>,
}

/// One file of a version.
#[derive(Debug, Deserialize)]
struct Provider {
    name: String,
    url: String,
    checksum: Option<String>,
    checksum_type: Option<String>,
    /// Registries that know no architectures leave it out.
    architecture: Option<String>,
    default_architecture: Option<bool>,
}

/// The file of a box that is to be downloaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BoxFile {
    pub(super) url: String,
    pub(super) checksum: Option<Checksum>,
}

impl Metadata {
    /// Returns the file of a version, or of the newest that has one.
    pub(super) fn choose(&self, wanted: Option<&str>) -> Result<BoxFile, Error> {
        let version = match wanted {
            Some(wanted) => self.find(wanted)?,
            None => self.newest()?,
        };
        let provider = version.provider().ok_or_else(|| self.unusable(version))?;
        Ok(BoxFile { url: provider.url.clone(), checksum: self.checksum(provider)? })
    }

    fn find(&self, wanted: &str) -> Result<&Version, Error> {
        let exact = self.versions.iter().find(|version| version.version == wanted);
        let same = |version: &&Version| version::compare(&version.version, wanted).is_eq();
        exact
            .or_else(|| self.versions.iter().find(same))
            .ok_or_else(|| self.failure(format!("there is no version '{wanted}'")).hint(self.listed()))
    }

    fn newest(&self) -> Result<&Version, Error> {
        let sorted = self.sorted();
        let usable = || sorted.iter().copied().filter(|version| version.provider().is_some());
        let release = usable().find(|version| !version::is_preview(&version.version));
        let newest = release.or_else(|| usable().next()).or_else(|| sorted.first().copied());
        newest.ok_or_else(|| self.failure("it has no version yet".to_owned()))
    }

    /// Returns the versions, the newest first.
    fn sorted(&self) -> Vec<&Version> {
        let mut sorted: Vec<&Version> = self.versions.iter().collect();
        sorted.sort_by(|one, other| version::compare(&other.version, &one.version));
        sorted
    }

    fn listed(&self) -> String {
        let sorted = self.sorted();
        let names: Vec<&str> = sorted.iter().take(LISTED).map(|version| &*version.version).collect();
        let more = if sorted.len() > LISTED { ", and older ones" } else { "" };
        format!("there are: {}{more}", names.join(", "))
    }

    fn unusable(&self, version: &Version) -> Error {
        let mut kinds: Vec<String> = version.providers.iter().map(Provider::described).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let reason =
            format!("version {} is not made for {ARCHITECTURE} and libvirt or qemu", version.version);
        match kinds.is_empty() {
            true => self.failure(reason),
            false => self.failure(reason).hint(format!("it is made for: {}", kinds.join(", "))),
        }
    }

    fn checksum(&self, provider: &Provider) -> Result<Option<Checksum>, Error> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty() && text != "none");
        match (given(&provider.checksum_type), given(&provider.checksum)) {
            (Some(algorithm), Some(digest)) => {
                let checksum = Checksum::of_box(&algorithm, &digest);
                checksum.map(Some).map_err(|error| self.failure(error.to_string()))
            }
            _ => Ok(None),
        }
    }

    fn failure(&self, reason: String) -> Error {
        let message = format!("the vagrant box '{}' cannot be used", self.name);
        Error::new(ErrorKind::SourceFailed, message).caused_by(reason)
    }
}

impl Version {
    /// Returns the best file that a builder VM can work with.
    fn provider(&self) -> Option<&Provider> {
        let of = |name: &'static str| self.providers.iter().filter(move |provider| provider.name == name);
        PROVIDERS.into_iter().find_map(|name| {
            of(name)
                .find(|provider| provider.is_for_us())
                .or_else(|| of(name).find(|provider| provider.may_be()))
        })
    }
}

impl Provider {
    fn is_for_us(&self) -> bool {
        self.architecture.as_deref() == Some(ARCHITECTURE)
    }

    /// Boxes from before architectures were known are "unknown".
    fn may_be(&self) -> bool {
        match self.architecture.as_deref() {
            None | Some("") => true,
            Some("unknown") => self.default_architecture != Some(false),
            Some(_) => false,
        }
    }

    fn described(&self) -> String {
        match self.architecture.as_deref() {
            None | Some("" | "unknown") => self.name.clone(),
            Some(architecture) => format!("{} ({architecture})", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(versions: &str) -> Metadata {
        serde_json::from_str(&format!(r#"{{"name": "a/b", "versions": {versions}}}"#)).unwrap()
    }

    /// A version whose files are named by provider and architecture.
    fn version(version: &str, files: &[(&str, &str)]) -> String {
        let files: Vec<String> = files
            .iter()
            .map(|(name, architecture)| {
                let known = match *architecture {
                    "" => String::new(),
                    _ => format!(r#", "architecture": "{architecture}", "default_architecture": true"#),
                };
                format!(r#"{{"name": "{name}", "url": "{version}/{name}/{architecture}"{known}}}"#)
            })
            .collect();
        format!(r#"{{"version": "{version}", "providers": [{}]}}"#, files.join(","))
    }

    fn chosen(versions: &[String], wanted: Option<&str>) -> Result<String, Error> {
        metadata(&format!("[{}]", versions.join(","))).choose(wanted).map(|file| file.url)
    }

    #[test]
    fn the_newest_release_that_fits() {
        let libvirt = [("libvirt", "amd64")];
        let versions = [
            version("1.9", &libvirt),
            version("1.10", &libvirt),
            version("2.0-rc1", &libvirt),
            version("1.11", &[("virtualbox", "amd64"), ("libvirt", "arm64")]),
        ];
        assert_eq!(chosen(&versions, None).unwrap(), "1.10/libvirt/amd64");
        assert_eq!(chosen(&versions, Some("1.9.0")).unwrap(), "1.9/libvirt/amd64");
        assert_eq!(chosen(&versions[2..3], None).unwrap(), "2.0-rc1/libvirt/amd64");
        let error = chosen(&versions, Some("3")).unwrap_err();
        assert!(error.report().contains("there is no version '3'"));
        assert_eq!(error.hints(), ["there are: 2.0-rc1, 1.11, 1.10, 1.9"]);
        let error = chosen(&versions, Some("1.11")).unwrap_err();
        assert_eq!(error.hints(), ["it is made for: libvirt (arm64), virtualbox (amd64)"]);
        assert!(chosen(&[], None).unwrap_err().report().contains("no version yet"));
        assert!(chosen(&[version("1", &[])], None).is_err());
    }

    #[test]
    fn the_file_that_fits_best() {
        for (files, expected) in [
            (&[("qemu", "amd64"), ("libvirt", "amd64")][..], "1/libvirt/amd64"),
            (&[("libvirt", "arm64"), ("qemu", "amd64")], "1/qemu/amd64"),
            (&[("libvirt", "unknown"), ("libvirt", "amd64")], "1/libvirt/amd64"),
            (&[("virtualbox", "unknown"), ("libvirt", "unknown")], "1/libvirt/unknown"),
            (&[("libvirt", "")], "1/libvirt/"),
        ] {
            assert_eq!(chosen(&[version("1", files)], None).unwrap(), expected);
        }
    }

    #[test]
    fn a_checksum_need_not_be_there() {
        let file = |more: &str| {
            let provider = format!(r#"{{"name": "qemu", "url": "x" {more}}}"#);
            metadata(&format!(r#"[{{"version": "1", "providers": [{provider}]}}]"#)).choose(None)
        };
        for more in [
            "",
            r#", "checksum": null, "checksum_type": null"#,
            r#", "checksum": "", "checksum_type": "md5""#,
        ] {
            assert_eq!(file(more).unwrap().checksum, None);
        }
        let md5 = r#", "checksum": "900150983CD24FB0D6963F7D28E17F72", "checksum_type": "md5""#;
        assert_eq!(file(md5).unwrap().checksum.unwrap().algorithm(), "md5");
        assert!(file(r#", "checksum": "00", "checksum_type": "crc32""#).is_err());
    }
}
