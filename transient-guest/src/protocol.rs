//! The words of the private channel between the host and the builder VM.
//!
//! Two virtio-serial ports lead into the guest. Over [`CONTROL_PORT`] the host first writes a
//! [`Preamble`] (or [`SETTLE`], to have the guest saved before that), then speaks SSH (RFC 4253): an `exec` channel is a `RUN`, a PTY with a `shell` is an
//! `INSPECT`, and the subsystem [`SUBSYSTEM`] carries one [`Request`] as a line of JSON, answered
//! by lines of [`Reply`], the last of which is [`Reply::Done`] or [`Reply::Failed`].
//! Over [`DATA_PORT`] run the bytes of tar streams, in frames (see [`FRAME_END`]): to the guest for
//! [`Request::Unpack`], to the host for [`Request::Pack`]; one at a time, and each to its end.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The virtio-serial port that carries the preamble and then SSH.
pub const CONTROL_PORT: &str = "org.transient.control";
/// The virtio-serial port that carries bulk data to and from the guest, in frames.
pub const DATA_PORT: &str = "org.transient.data";
/// The SSH subsystem of typed requests.
pub const SUBSYSTEM: &str = "transient";
/// The SSH user name; the guest has no other.
pub const USER: &str = "root";
/// Where the image's root filesystem is mounted in the guest.
pub const IMAGE_ROOT: &str = "/image";
/// The image's disk as the guest sees it.
pub const IMAGE_DISK: &str = "/dev/vda";
/// Where the appliance lists its modules (an [`ApplianceManifest`] as JSON).
pub const MANIFEST_PATH: &str = "/appliance.json";
/// The guest's own address, its gateway and its resolver on QEMU's user network.
pub const GUEST_ADDRESS: ([u8; 4], u8) = ([10, 0, 2, 15], 24);
/// The gateway of QEMU's user network.
pub const GATEWAY: [u8; 4] = [10, 0, 2, 2];
/// The resolver of QEMU's user network.
pub const RESOLVER: [u8; 4] = [10, 0, 2, 3];
/// Networks, as address and length of prefix, that the host keeps the guest from: the gateway's address, at which QEMU's
/// user network would have the host's loopback, and link-local addresses, where clouds tell their machines secrets.
pub const CLOSED_NETWORKS: [([u8; 4], u8); 2] = [(GATEWAY, 32), ([169, 254, 0, 0], 16)];

/// A frame's length is a little-endian `u32` before its bytes; this length ends the stream.
pub const FRAME_END: u32 = 0;
/// The length that says the sender gave up: what came before is not whole.
pub const FRAME_ABORT: u32 = u32::MAX;
/// The most bytes that one frame carries.
pub const FRAME_MAX: u32 = 1 << 20;

/// The exit status by which the guest says that a command could not even be started.
pub const EXIT_NOT_STARTED: u32 = 125;

/// The first bytes on the control port: all secrets of this boot, made by the host.
#[derive(Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The seed of the guest's ed25519 host key.
    pub host_key_seed: [u8; 32],
    /// The ed25519 public key that may log in.
    pub client_key: [u8; 32],
    /// Entropy for the guest's kernel.
    pub entropy: [u8; 32],
    /// The host's clock, in nanoseconds since the epoch.
    pub clock: u64,
    /// Whether the guest has a network card to bring up.
    pub network: bool,
}

/// What the host writes before a preamble to a guest that it will save. The guest answers with the same when it has
/// booted to its end, and waits; whatever is restored from there reads a preamble next.
pub const SETTLE: &[u8; 16] = b"transient-wait/1";

const MAGIC: &[u8; 16] = b"transient-boot/1";

impl Preamble {
    /// The length on the wire, in bytes.
    pub const SIZE: usize = 16 + Self::REST;
    /// What follows the first 16 bytes, in bytes.
    pub const REST: usize = 3 * 32 + 8 + 1;

    /// Returns the preamble as it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.host_key_seed);
        bytes.extend_from_slice(&self.client_key);
        bytes.extend_from_slice(&self.entropy);
        bytes.extend_from_slice(&self.clock.to_le_bytes());
        bytes.push(u8::from(self.network));
        bytes
    }

    /// Reads a preamble; `None` when these are not the bytes of one.
    pub fn from_bytes(magic: &[u8; 16], rest: &[u8; Self::REST]) -> Option<Self> {
        let (host_key_seed, rest) = rest.split_first_chunk::<32>()?;
        let (client_key, rest) = rest.split_first_chunk::<32>()?;
        let (entropy, rest) = rest.split_first_chunk::<32>()?;
        let (clock, rest) = rest.split_first_chunk::<8>()?;
        (magic == MAGIC).then(|| Self {
            host_key_seed: *host_key_seed,
            client_key: *client_key,
            entropy: *entropy,
            clock: u64::from_le_bytes(*clock),
            network: rest == [1],
        })
    }
}

impl std::fmt::Debug for Preamble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Preamble").field("network", &self.network).finish_non_exhaustive()
    }
}

/// What the host asks of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Writes a partition table to the empty image disk.
    Partition {
        /// The kind of the table.
        label: DiskLabel,
        /// The partitions, in the order of the Imagefile.
        partitions: Vec<Partition>,
    },
    /// Makes a filesystem (or swap area) on a partition.
    Format {
        /// The partition's number.
        partition: u32,
        /// What to make.
        filesystem: Filesystem,
        /// More words for the `mkfs` program.
        options: Vec<String>,
    },
    /// Mounts the partitions of a new image below [`IMAGE_ROOT`], the shallowest path first.
    Mount {
        /// What to mount where.
        mounts: Vec<Mount>,
        /// When the build began to change the image, in nanoseconds since 1970; `None` is now.
        since: Option<u64>,
    },
    /// Finds the root of an existing image, mounts it, and what its fstab lists; answers with [`Reply::Mounted`].
    MountImage,
    /// Mounts the filesystems of an image as they were mounted before, whatever its fstab says by now.
    MountAgain {
        /// What was mounted, in order.
        mounts: Vec<MountedDevice>,
        /// As in [`Request::Mount`].
        since: u64,
    },
    /// Makes the image's filesystems read-only, and the disk a whole image of them.
    Pause,
    /// Makes them writable again.
    GoOn,
    /// Unpacks the tar stream that comes over the data port.
    Unpack {
        /// Where in the image, an absolute path.
        destination: PathBuf,
        /// How the destination is to be understood.
        placement: Placement,
    },
    /// Packs a file, directory or link of the image into a tar stream that goes over the data port.
    ///
    /// Its one top-level entry has the name of the source. Of the root, and of a source that ends in `/.`, there is only
    /// what is in it.
    /// After a failure the stream ends with [`FRAME_ABORT`].
    Pack {
        /// An absolute path in the image. A link at its end is packed as one.
        source: PathBuf,
    },
    /// Labels what the build made (SELinux images), trims, unmounts and syncs everything.
    Finish,
}

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskLabel {
    /// A GUID partition table.
    Gpt,
    /// A DOS partition table.
    Mbr,
}

/// One partition of a new disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number in the table.
    pub number: u32,
    /// Its first byte on the disk, a multiple of 1 MiB.
    pub start: u64,
    /// Its size in bytes, a multiple of 512; `None` is all that is left.
    pub size: Option<u64>,
    /// MBR: active; GPT: the attribute "legacy BIOS bootable".
    pub boot: bool,
    /// What its type says that it holds.
    pub kind: PartitionKind,
}

/// What a partition's type says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionKind {
    /// A Linux filesystem.
    Linux,
    /// A Linux swap area.
    Swap,
    /// An EFI system partition.
    EfiSystem,
    /// A GPT BIOS boot partition.
    BiosBoot,
}

/// What a partition can be formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Filesystem {
    Ext2,
    Ext3,
    Ext4,
    Xfs,
    Vfat,
    Btrfs,
    Swap,
}

impl Filesystem {
    /// All of them, in the order in which they are told to people.
    pub const ALL: [Self; 7] =
        [Self::Ext2, Self::Ext3, Self::Ext4, Self::Xfs, Self::Vfat, Self::Btrfs, Self::Swap];

    /// The name, as in an Imagefile and as `mount -t` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Vfat => "vfat",
            Self::Btrfs => "btrfs",
            Self::Swap => "swap",
        }
    }
}

/// A partition and the place where it is mounted in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The partition's number.
    pub partition: u32,
    /// An absolute path in the image.
    pub path: PathBuf,
    /// The filesystem that is on it.
    pub filesystem: Filesystem,
}

/// How the destination of a tar stream is to be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// A directory, made where it is missing; the entries go below it.
    Into,
    /// As `cp -r` does with one source: below the destination if that is a directory already, else
    /// under the destination's own name. The stream has one top-level entry of this name.
    AsOrInto(PathBuf),
}

/// What the guest answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// A thing that a person should know, but that is no failure.
    Note {
        /// One sentence.
        message: String,
    },
    /// What [`Request::MountImage`] has mounted, in order.
    Mounted {
        /// The filesystems.
        mounts: Vec<MountedDevice>,
    },
    /// The request was carried out. The last reply.
    Done,
    /// The request could not be carried out. The last reply.
    Failed {
        /// What went wrong, a fragment that fits after "failed: ".
        message: String,
        /// What the program that failed printed, if one did.
        output: String,
        /// Why, where it is one of the kinds that the host tells apart.
        cause: FailureCause,
    },
}

/// A filesystem of an image, as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedDevice {
    /// The device, for example `/dev/vda1`.
    pub device: PathBuf,
    /// The kind of the filesystem, as `mount -t` takes it.
    pub kind: String,
    /// The options, as `mount -o` takes them.
    pub options: String,
    /// Where in the image, an absolute path.
    pub target: PathBuf,
}

/// The kinds of failure that the host tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCause {
    /// The image's filesystem is full.
    NoSpace,
    /// The tar stream is broken.
    BadArchive,
    /// The appliance lacks a program or module.
    NotInAppliance,
    /// No filesystem of the image looks like a root.
    NoRoot,
    /// Anything else.
    Other,
}

/// What an appliance's initramfs says of itself, at [`MANIFEST_PATH`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceManifest {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Named groups of module files, each in load order with all dependencies: `boot` is loaded at
    /// once; `disk` when the host has given the disk; `net`, `lvm`, and one for each filesystem (`xfs`, `btrfs`, `vfat`, ...) when it is needed.
    /// A group that is built into the kernel is present and empty.
    pub modules: std::collections::BTreeMap<String, Vec<PathBuf>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_survives_the_wire() {
        let preamble = Preamble {
            host_key_seed: [1; 32],
            client_key: [2; 32],
            entropy: [3; 32],
            clock: 1_700_000_000_000_000_001,
            network: true,
        };
        let bytes: [u8; Preamble::SIZE] = preamble.to_bytes().try_into().expect("the stated size");
        let (magic, rest) = bytes.split_first_chunk::<16>().expect("longer");
        let rest = rest.try_into().expect("the stated size");
        assert_eq!(Preamble::from_bytes(magic, rest), Some(preamble));
        assert_eq!(Preamble::from_bytes(SETTLE, rest), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let preamble = Preamble {
            host_key_seed: [171; 32],
            client_key: [0; 32],
            entropy: [171; 32],
            clock: 0,
            network: false,
        };
        assert!(!format!("{preamble:?}").contains("171"));
    }
}
