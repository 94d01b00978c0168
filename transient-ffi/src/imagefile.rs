//! Imagefiles: from text to typed instructions.

use std::ffi::{CString, c_char};
use std::path::PathBuf;

use transient_core::Imagefile;
use transient_core::imagefile::{Base, Disk, DiskLabel, Instruction, Keyword, Partition, Transfer};

use crate::boundary::{Out, fallible, free, read};
use crate::error::transient_error;
use crate::status::transient_status;
use crate::text::{self, Strings, address, c_path, c_string};

/// The instructions by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_keyword {
    /// `from` of the data
    From = 1,
    /// `disk` of the data
    Disk = 2,
    /// `partition` of the data
    Partition = 3,
    /// `transfer` of the data
    Copy = 4,
    /// `transfer` of the data
    Add = 5,
    /// `run` of the data
    Run = 6,
    /// No data
    Inspect = 7,
}

impl From<Keyword> for transient_keyword {
    fn from(keyword: Keyword) -> Self {
        match keyword {
            Keyword::From => Self::From,
            Keyword::Disk => Self::Disk,
            Keyword::Partition => Self::Partition,
            Keyword::Copy => Self::Copy,
            Keyword::Add => Self::Add,
            Keyword::Run => Self::Run,
            Keyword::Inspect => Self::Inspect,
        }
    }
}

/// FROM: what an image is built from.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_from {
    /// The image's name in the backend; NULL is `scratch`, an empty disk.
    pub name: *const c_char,
    /// `file`, `http` or `vagrant`; NULL when no source is named.
    pub protocol: *const c_char,
    /// Where the image comes from; NULL when no source is named.
    pub source: *const c_char,
    /// What the bytes of the source must add up to, for example `sha256=` and 64 digits; NULL when that is not said.
    pub checksum: *const c_char,
}

/// DISK: the disk of an image that is built from scratch.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_disk {
    /// In bytes.
    pub size: u64,
    /// `GPT` or `MBR`.
    pub label: *const c_char,
}

/// PARTITION: one partition of the disk.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_partition {
    /// Its number in the table.
    pub number: u32,
    /// In bytes; 0 is all that is left.
    pub size: u64,
    /// The filesystem to make, for example `ext4`; NULL is none.
    pub format: *const c_char,
    /// More words for the `mkfs` program.
    pub options: *const *const c_char,
    /// How many.
    pub options_len: usize,
    /// Where it is mounted during the build; NULL is nowhere.
    pub mount: *const c_char,
    /// Any of `boot`, `efi` and `bios_grub`.
    pub flags: *const *const c_char,
    /// How many.
    pub flags_len: usize,
}

/// COPY and ADD: what goes from the build directory into the image.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_transfer {
    /// Paths relative to the build directory.
    pub sources: *const *const c_char,
    /// How many, at least one.
    pub sources_len: usize,
    /// A path in the image.
    pub destination: *const c_char,
}

/// RUN: a command for `/bin/sh -c`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_run {
    /// The command.
    pub command: *const c_char,
}

/// The arguments of an instruction; its keyword says which member it is.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "only the keyword tells which member is valid")]
pub union transient_instruction_data {
    /// FROM
    pub from: transient_from,
    /// DISK
    pub disk: transient_disk,
    /// PARTITION
    pub partition: transient_partition,
    /// COPY and ADD
    pub transfer: transient_transfer,
    /// RUN
    pub run: transient_run,
}

/// An instruction. Made by the library alone; later releases may add fields at the end.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "as of the union")]
pub struct transient_instruction {
    /// A `transient_keyword`.
    pub keyword: u32,
    /// The instruction in its usual form, on one line.
    pub text: *const c_char,
    /// The line where it begins, counted from 1.
    pub line: usize,
    /// The first byte of its place in the text.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Its arguments.
    pub data: transient_instruction_data,
}

/// A checked Imagefile. It never changes: several threads may read it at once.
#[expect(missing_debug_implementations, reason = "of its instructions, only C knows the members")]
pub struct transient_imagefile {
    pub(crate) imagefile: Imagefile,
    path: CString,
    text: CString,
    views: Vec<transient_instruction>,
    _strings: Owned,
}

/// What the views point to.
#[derive(Default)]
struct Owned {
    strings: Vec<CString>,
    lists: Vec<Strings>,
}

impl Owned {
    fn string(&mut self, text: CString) -> *const c_char {
        self.strings.push(text);
        address(self.strings.last())
    }

    fn list(&mut self, list: Strings) -> (*const *const c_char, usize) {
        let view = (list.as_ptr(), list.len());
        self.lists.push(list);
        view
    }

    fn data(&mut self, instruction: &Instruction) -> transient_instruction_data {
        match instruction {
            Instruction::From(base) => transient_instruction_data { from: self.from(base) },
            Instruction::Disk(disk) => transient_instruction_data { disk: self.disk(disk) },
            Instruction::Partition(partition) => {
                transient_instruction_data { partition: self.partition(partition) }
            }
            Instruction::Copy(transfer) | Instruction::Add(transfer) => {
                transient_instruction_data { transfer: self.transfer(transfer) }
            }
            Instruction::Run(command) => {
                transient_instruction_data { run: transient_run { command: self.string(c_string(command)) } }
            }
            Instruction::Inspect => {
                transient_instruction_data { run: transient_run { command: std::ptr::null() } }
            }
        }
    }

    fn from(&mut self, base: &Base) -> transient_from {
        let none = std::ptr::null();
        let Base::Image(spec) = base else {
            return transient_from { name: none, protocol: none, source: none, checksum: none };
        };
        let (protocol, source) = match &spec.source {
            Some((protocol, source)) => {
                (self.string(c_string(protocol.name())), self.string(c_string(source)))
            }
            None => (none, none),
        };
        let checksum = spec.checksum.as_ref().map(ToString::to_string);
        let checksum = checksum.map_or(none, |checksum| self.string(c_string(checksum)));
        transient_from { name: self.string(c_string(spec.name.as_str())), protocol, source, checksum }
    }

    fn disk(&mut self, disk: &Disk) -> transient_disk {
        let label = match disk.label {
            DiskLabel::Gpt => "GPT",
            DiskLabel::Mbr => "MBR",
        };
        transient_disk { size: disk.bytes(), label: self.string(c_string(label)) }
    }

    fn partition(&mut self, partition: &Partition) -> transient_partition {
        let (options, options_len) = self.list(Strings::new(&partition.options));
        let (flags, flags_len) = self.list(Strings::new(partition.flags.iter().map(|flag| flag.name())));
        transient_partition {
            number: partition.number,
            size: partition.bytes().unwrap_or(0),
            format: partition.format.map_or(std::ptr::null(), |format| self.string(c_string(format.name()))),
            options,
            options_len,
            mount: partition.mount.as_ref().map_or(std::ptr::null(), |mount| self.string(c_path(mount))),
            flags,
            flags_len,
        }
    }

    fn transfer(&mut self, transfer: &Transfer) -> transient_transfer {
        let (sources, sources_len) = self.list(Strings::new(&transfer.sources));
        transient_transfer { sources, sources_len, destination: self.string(c_path(&transfer.destination)) }
    }
}

// SAFETY: nothing in it is changed once it is made, and the views point into what it owns.
unsafe impl Send for transient_imagefile {}
// SAFETY: as above.
unsafe impl Sync for transient_imagefile {}

impl transient_imagefile {
    fn new(imagefile: Imagefile) -> Self {
        let mut owned = Owned::default();
        let instructions = imagefile.instructions().iter();
        let views = instructions
            .map(|(instruction, span)| transient_instruction {
                keyword: transient_keyword::from(instruction.keyword()) as u32,
                text: owned.string(c_string(instruction.to_string())),
                line: imagefile.line(*span),
                start: span.start,
                end: span.end,
                data: owned.data(instruction),
            })
            .collect();
        let (path, text) = (c_path(imagefile.path()), c_string(imagefile.text()));
        Self { imagefile, path, text, views, _strings: owned }
    }
}

/// Reads, parses and checks a file. The caller owns `*imagefile_out`: `transient_imagefile_free`. Any thread may
/// call this.
///
/// Fails as `transient_imagefile_parse`; with `TRANSIENT_STATUS_INVALID_ARGUMENT` when there is no such file.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_load(
    path: *const c_char,
    imagefile_out: *mut *mut transient_imagefile,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(imagefile_out, "imagefile_out")?;
        out.give(transient_imagefile::new(Imagefile::load(text::path(path, "path")?)?));
        Ok(())
    })
}

/// Parses and checks a text of `len` bytes, which need not be UTF-8 for a good error. `path` is only for messages;
/// NULL is `Imagefile`. The caller owns `*imagefile_out`: `transient_imagefile_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGEFILE`, with every error of the text:
/// `transient_error_diagnostic`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_parse(
    path: *const c_char,
    text: *const u8,
    len: usize,
    imagefile_out: *mut *mut transient_imagefile,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(imagefile_out, "imagefile_out")?;
        let path = text::optional_path(path, "path")?.unwrap_or_else(|| PathBuf::from("Imagefile"));
        let text = text::bytes(text, len, "text")?;
        out.give(transient_imagefile::new(Imagefile::parse(path, text)?));
        Ok(())
    })
}

/// Returns the path that it was parsed under. Lives as long as the Imagefile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_path(imagefile: *const transient_imagefile) -> *const c_char {
    read(imagefile, |imagefile| imagefile.path.as_ptr())
}

/// Returns the text, without a byte-order mark. Lives as long as the Imagefile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_text(imagefile: *const transient_imagefile) -> *const c_char {
    read(imagefile, |imagefile| imagefile.text.as_ptr())
}

/// Returns how many instructions there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_instructions_len(imagefile: *const transient_imagefile) -> usize {
    read(imagefile, |imagefile| imagefile.views.len())
}

/// Returns an instruction, in the order of the file; NULL behind the last. It, and all that it points to, lives as
/// long as the Imagefile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_instruction(
    imagefile: *const transient_imagefile,
    index: usize,
) -> *const transient_instruction {
    read(imagefile, |imagefile| imagefile.views.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Frees an Imagefile. NULL is ignored. Its plan stays.
#[unsafe(no_mangle)]
pub extern "C" fn transient_imagefile_free(imagefile: *mut transient_imagefile) {
    free(imagefile);
}
