//! `transient cp`

use std::path::PathBuf;

use transient_core::{CopyOptions, FileCopy, ImageName, Store, copy};

use crate::cli::Cp;
use crate::failure::Failure;

pub(super) fn run(args: Cp, appliances: Vec<PathBuf>) -> Result<(), Failure> {
    let copies = copies(&args.paths)?;
    let locations = super::locations(args.backend, Some(args.vmstore))?;
    let store = Store::new(super::with_appliances(locations, appliances));
    super::watched(args.progress, |listener, cancel| {
        copies.iter().try_for_each(|(vm, options)| {
            let mut options = options.clone();
            options.timeout = args.copy_timeout;
            copy(&store, vm, &options, listener, cancel)
        })
    })
}

/// Returns what is copied, for each VM.
fn copies(paths: &[String]) -> Result<Vec<(ImageName, CopyOptions)>, Failure> {
    let Some((destination, sources)) = paths.split_last() else { return Ok(Vec::new()) };
    let sources: Vec<_> = sources.iter().map(|source| (source, of_vm(source))).collect();
    let mut copies: Vec<(ImageName, CopyOptions)> = Vec::new();
    match of_vm(destination) {
        Some((vm, destination)) => {
            if sources.iter().any(|(_, of_vm)| of_vm.is_some()) {
                return Err(mixed("If destination is a VM path, all source paths must not be VM paths"));
            }
            let mut options = CopyOptions::default();
            options.into = sources
                .iter()
                .map(|(source, _)| FileCopy { source: source.into(), destination: destination.into() })
                .collect();
            copies.push((ImageName::new(vm)?, options));
        }
        None => {
            for (_, of_vm) in sources {
                let Some((vm, source)) = of_vm else {
                    return Err(mixed("If destination is not a VM path, all source paths must be VM paths"));
                };
                let vm = ImageName::new(vm)?;
                let out = FileCopy { source: source.into(), destination: destination.into() };
                match copies.iter_mut().find(|(known, _)| *known == vm) {
                    Some((_, options)) => options.out.push(out),
                    None => {
                        let mut options = CopyOptions::default();
                        options.out.push(out);
                        copies.push((vm, options));
                    }
                }
            }
        }
    }
    Ok(copies)
}

/// Returns the VM and the path in it. A path of this host that holds a colon begins with `/` or `.`.
fn of_vm(path: &str) -> Option<(&str, &str)> {
    let (vm, path) = path.split_once(':')?;
    (!vm.is_empty() && !vm.starts_with(['/', '.'])).then_some((vm, path))
}

fn mixed(message: &'static str) -> Failure {
    Failure::Refused {
        kind: transient_core::ErrorKind::InvalidArgument,
        message,
        hints: &["a VM path is VM:/PATH; a path of this host that holds a ':' begins with '/' or '.'"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_vm_is_told_from_one_of_this_host() {
        assert_eq!(of_vm("vm:/etc"), Some(("vm", "/etc")));
        for path in ["/a:b", "./a:b", "a", ":/x"] {
            assert_eq!(of_vm(path), None, "{path}");
        }
    }

    #[test]
    fn sources_of_several_vms_are_copied_one_vm_at_a_time() {
        let paths = ["a:/1", "b:/2", "a:/3", "."].map(str::to_owned);
        let copies = copies(&paths).expect("copies");
        let sources =
            |options: &CopyOptions| options.out.iter().map(|copy| copy.source.clone()).collect::<Vec<_>>();
        assert_eq!(copies.len(), 2);
        assert_eq!(sources(&copies[0].1), [PathBuf::from("/1"), PathBuf::from("/3")]);
    }
}
