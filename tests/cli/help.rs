//! The help of each command, as a reference that changes only on purpose.

use snapbox::{assert_data_eq, str};

use crate::harness::Sandbox;

fn help(words: &str) -> String {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(words.split_whitespace().chain(["-h"])).exits(0);
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

#[test]
fn transient() {
    assert_data_eq!(
        help(""),
        str![[r#"
Build virtual machine disk images, and run virtual machines from them

Usage: transient [OPTIONS] <COMMAND>

Commands:
  run        Run a VM from an image until its console or SSH session ends; without a name, it keeps
             nothing
  create     Make a VM in the VM store, without starting it
  start      Start a VM of the VM store
  stop       End VMs that run, and wait for their ends
  ps         List the VMs that run
  ssh        Get a shell in a VM that runs, or run a command there
  rm         Remove VMs from the VM store: all that are named, or none
  cp         Copy files between this host and the disks of VMs that do not run
  commit     Make an image of the disk of a VM that does not run
  image      Build, pull, list and remove disk images
  cache      List and remove what builds keep for the next ones
  appliance  Look at or assemble what the builder VM boots

Options:
  -v, --verbose...  Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help        Print help
  -V, --version     Print version

"#]]
    );
}

#[test]
fn image() {
    assert_data_eq!(
        help("image"),
        str![[r#"
Build, pull, list and remove disk images

Usage: transient image [OPTIONS] <COMMAND>

Commands:
  build    Build an image from an Imagefile
  pull     Bring images into the backend, those that it lacks
  import   Make a file of this host an image of the backend
  export   Write an image to a file of this host
  ls       List the images of the backend
  inspect  Show what is known of images, also how they were made
  history  Show the steps that made an image and its parents, the newest first
  check    Check whether images are whole, or an Imagefile without building it
  tag      Give an image another name
  rm       Remove images from the backend: all that are named, or none
  prune    Remove what nobody needs: abandoned work, and with --all images that no VM uses

Options:
  -v, --verbose...  Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help        Print help

"#]]
    );
}

#[test]
fn image_build() {
    assert_data_eq!(
        help("image build"),
        str![[r#"
Build an image from an Imagefile

Usage: transient image build [OPTIONS] --name <NAME> <BUILD_DIR>

Arguments:
  <BUILD_DIR>  The build directory: paths in the Imagefile are relative to it

Options:
      --name <NAME>              The name of the new image; with --local, the image is NAME.qcow2 in
                                 the build directory
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
  -f, --file <FILE>              The Imagefile [default: BUILD_DIR/Imagefile]
      --local                    Put the image into the build directory, not into the backend
      --compress <TYPE>          How the image is compressed [default: none] [possible values: none,
                                 zlib, zstd]
      --no-cache                 Carry out every step, also those whose result is in the cache
      --no-cache-from <STEP>     Carry out step STEP, as it is counted in the output, and all that
                                 follow, also those whose result is in the cache
      --explain                  Tell what differs from the last build of NAME, so that the first
                                 step that is carried out is not in the cache
      --on-failure <WHAT>        What to do when a step fails; shell opens one in the state before
                                 the step, before the build fails [default: stop] [possible values:
                                 stop, shell]
      --keep-failed <NAME>       When a step fails, keep the state before it as image NAME, which
                                 must be free
      --cache-limit <SIZE>       What the cache may occupy after the build; what was not used for
                                 the longest time goes [default: 20GiB]
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --vmstore <VMSTORE>        The folder of the VMs, whose images are kept [default:
                                 $TRANSIENT_VMSTORE, else transient/vmstore in the user's data
                                 folder]
      --progress <HOW>           How to show what happens; auto is tty on a terminal, else plain;
                                 json is one object a line on stdout [default: auto] [possible
                                 values: auto, tty, plain, json]
  -h, --help                     Print help

Builder VM:
      --memory <SIZE>            Memory, for example 512MiB or 4G [default: 2GiB, or what the host
                                 can spare]
      --cpus <N>                 Virtual CPUs [default: all of the host, up to 4]
      --accel <ACCEL>            What runs the instructions of the VM; auto is kvm where that works,
                                 else tcg [default: auto] [possible values: auto, kvm, tcg]
      --network <NETWORK>        The network of RUN: out to where this host reaches, or none
                                 [default: user] [possible values: user, none]
      --no-warm-start            Boot the builder VM, and do not restore one that was saved when it
                                 had booted
      --qmp-timeout <SECONDS>    Wait this many seconds for QEMU to answer [default: 10]
      --ssh-timeout <SECONDS>    Wait this many seconds for the builder VM to answer [default: 90,
                                 and three times that without kvm]
      --qemu-bin-name <PROGRAM>  The QEMU program, a name or a path [default: qemu-system-x86_64]

"#]]
    );
}

#[test]
fn image_pull() {
    assert_data_eq!(
        help("image pull"),
        str![[r#"
Bring images into the backend, those that it lacks

Usage: transient image pull [OPTIONS] <SPEC>...

Arguments:
  <SPEC>...  What to bring in: NAME,http=URL or NAME,file=PATH, with or without ,sha256=DIGEST
             behind it, or NAME,vagrant=USER/BOX:VERSION, for which USER/BOX:VERSION is enough

Options:
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --progress <HOW>           How to show what happens; auto is tty on a terminal, else plain;
                                 json is one object a line on stdout [default: auto] [possible
                                 values: auto, tty, plain, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_ls() {
    assert_data_eq!(
        help("image ls"),
        str![[r#"
List the images of the backend

Usage: transient image ls [OPTIONS]

Options:
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --format <FORMAT>          How to print the list, and errors [default: table] [possible
                                 values: table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_inspect() {
    assert_data_eq!(
        help("image inspect"),
        str![[r#"
Show what is known of images, also how they were made

Usage: transient image inspect [OPTIONS] <NAME>...

Arguments:
  <NAME>...  The images

Options:
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --vmstore <VMSTORE>        The folder of the VMs, whose images are kept [default:
                                 $TRANSIENT_VMSTORE, else transient/vmstore in the user's data
                                 folder]
      --format <FORMAT>          How to print it, and errors [default: table] [possible values:
                                 table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_history() {
    assert_data_eq!(
        help("image history"),
        str![[r#"
Show the steps that made an image and its parents, the newest first

Usage: transient image history [OPTIONS] <NAME>

Arguments:
  <NAME>  The image

Options:
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --format <FORMAT>          How to print the steps, and errors [default: table] [possible
                                 values: table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_check() {
    assert_data_eq!(
        help("image check"),
        str![[r#"
Check whether images are whole, or an Imagefile without building it

Usage: transient image check [OPTIONS] [NAME|BUILD_DIR]...

Arguments:
  [NAME|BUILD_DIR]...  The images; with --file, the build directory instead [default: the folder of
                       the Imagefile]

Options:
  -f, --file <FILE>              Check an Imagefile, not images [default, if no image is named:
                                 Imagefile]
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --format <FORMAT>          How to print what was found, and errors [default: table] [possible
                                 values: table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_rm() {
    assert_data_eq!(
        help("image rm"),
        str![[r#"
Remove images from the backend: all that are named, or none

Usage: transient image rm [OPTIONS] <NAME>...

Arguments:
  <NAME>...  The images

Options:
  -f, --force                    Remove also images that VMs use
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --vmstore <VMSTORE>        The folder of the VMs, whose images are kept [default:
                                 $TRANSIENT_VMSTORE, else transient/vmstore in the user's data
                                 folder]
      --format <FORMAT>          How to print what was removed, and errors [default: table]
                                 [possible values: table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_import() {
    assert_data_eq!(
        help("image import"),
        str![[r#"
Make a file of this host an image of the backend

Usage: transient image import [OPTIONS] <PATH> [NAME]

Arguments:
  <PATH>  The file: an image in any format, also compressed; - is the standard input
  [NAME]  The image's name [default: the file's, without its extensions]

Options:
      --sha256 <DIGEST>          What `sha256sum` prints for the file; another file is refused
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
  -f, --force                    Replace an image of that name, unless a VM uses it
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --vmstore <VMSTORE>        The folder of the VMs, whose images are kept [default:
                                 $TRANSIENT_VMSTORE, else transient/vmstore in the user's data
                                 folder]
      --progress <HOW>           How to show what happens; auto is tty on a terminal, else plain;
                                 json is one object a line on stdout [default: auto] [possible
                                 values: auto, tty, plain, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_export() {
    assert_data_eq!(
        help("image export"),
        str![[r#"
Write an image to a file of this host

Usage: transient image export [OPTIONS] <NAME> <PATH>

Arguments:
  <NAME>  The image
  <PATH>  The file; one that ends in .gz, .xz or .zst is compressed as a whole

Options:
      --format <FORMAT>          The file's format [default: what its name ends in, raw for .img,
                                 else qcow2] [possible values: qcow2, raw, vmdk, vhdx, vdi]
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
  -c, --compress                 Use the format's own compression, of qcow2 and vmdk
  -f, --force                    Replace the file if it is there
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --progress <HOW>           How to show what happens; auto is tty on a terminal, else plain;
                                 json is one object a line on stdout [default: auto] [possible
                                 values: auto, tty, plain, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_tag() {
    assert_data_eq!(
        help("image tag"),
        str![[r#"
Give an image another name

Usage: transient image tag [OPTIONS] <SOURCE> <NEW>

Arguments:
  <SOURCE>  The image
  <NEW>     Its other name

Options:
  -f, --force                    Replace an image that has the other name, unless a VM uses it
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --vmstore <VMSTORE>        The folder of the VMs, whose images are kept [default:
                                 $TRANSIENT_VMSTORE, else transient/vmstore in the user's data
                                 folder]
      --format <FORMAT>          How to print the new image, and errors [default: table] [possible
                                 values: table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn image_prune() {
    assert_data_eq!(
        help("image prune"),
        str![[r#"
Remove what nobody needs: abandoned work, and with --all images that no VM uses

Usage: transient image prune [OPTIONS]

Options:
  -a, --all                      Remove also all images that no VM has a disk on, after asking
  -v, --verbose...               Say more: -v the programs that are run, -vv what happens, -vvv
                                 every detail
      --older-than <AGE>         Of these, only the ones that were made longer ago, for example 7d,
                                 12h or 2w
  -n, --dry-run                  Only say what would be removed
  -f, --force                    Do not ask [aliases: -y, --yes]
      --image-backend <BACKEND>  The folder of the images [default: $TRANSIENT_BACKEND, else
                                 transient/backend in the user's data folder]
      --vmstore <VMSTORE>        The folder of the VMs, whose images are kept [default:
                                 $TRANSIENT_VMSTORE, else transient/vmstore in the user's data
                                 folder]
      --format <FORMAT>          How to print what was removed, and errors [default: table]
                                 [possible values: table, json]
  -h, --help                     Print help

"#]]
    );
}

#[test]
fn appliance() {
    assert_data_eq!(
        help("appliance"),
        str![[r#"
Look at or assemble what the builder VM boots

Usage: transient appliance [OPTIONS] <COMMAND>

Commands:
  build  Assemble an appliance from a kernel, its modules and the filesystem tools of this host
  show   Show the appliance that builds use

Options:
  -v, --verbose...  Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help        Print help

"#]]
    );
}

#[test]
fn appliance_build() {
    assert_data_eq!(
        help("appliance build"),
        str![[r#"
Assemble an appliance from a kernel, its modules and the filesystem tools of this host

Usage: transient appliance build [OPTIONS] --output <FOLDER>

Options:
      --kernel <FILE>     The kernel [default: the newest of this host that can be read]
  -v, --verbose...        Say more: -v the programs that are run, -vv what happens, -vvv every
                          detail
      --modules <FOLDER>  The kernel's modules, a folder like /lib/modules/RELEASE [default: those
                          of this host]
      --output <FOLDER>   The folder to make; point TRANSIENT_APPLIANCE at it to use it
  -h, --help              Print help

"#]]
    );
}

#[test]
fn cache() {
    assert_data_eq!(
        help("cache"),
        str![[r#"
List and remove what builds keep for the next ones

Usage: transient cache [OPTIONS] <COMMAND>

Commands:
  ls     List the layers: what steps of builds did, the one that was used last at the end
  prune  Remove layers until no more than a size is left, those first that were not used for the
         longest time
  rm     Remove layers, and all that stands on them

Options:
  -v, --verbose...  Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help        Print help

"#]]
    );
}

#[test]
fn cache_ls() {
    assert_data_eq!(
        help("cache ls"),
        str![[r#"
List the layers: what steps of builds did, the one that was used last at the end

Usage: transient cache ls [OPTIONS]

Options:
      --format <FORMAT>  How to print the list, and errors [default: table] [possible values: table,
                         json]
  -v, --verbose...       Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help             Print help

"#]]
    );
}

#[test]
fn cache_prune() {
    assert_data_eq!(
        help("cache prune"),
        str![[r#"
Remove layers until no more than a size is left, those first that were not used for the longest time

Usage: transient cache prune [OPTIONS]

Options:
      --keep <SIZE>      What may be left, for example 5GiB [default: 0]
  -v, --verbose...       Say more: -v the programs that are run, -vv what happens, -vvv every detail
      --format <FORMAT>  How to print what was freed, and errors [default: table] [possible values:
                         table, json]
  -h, --help             Print help

"#]]
    );
}

#[test]
fn cache_rm() {
    assert_data_eq!(
        help("cache rm"),
        str![[r#"
Remove layers, and all that stands on them

Usage: transient cache rm [OPTIONS] <KEY>...

Arguments:
  <KEY>...  The keys of the layers, or the beginnings of them

Options:
  -v, --verbose...  Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help        Print help

"#]]
    );
}

#[test]
fn appliance_show() {
    assert_data_eq!(
        help("appliance show"),
        str![[r#"
Show the appliance that builds use

Usage: transient appliance show [OPTIONS]

Options:
      --format <FORMAT>  How to print it, and errors [default: table] [possible values: table, json]
  -v, --verbose...       Say more: -v the programs that are run, -vv what happens, -vvv every detail
  -h, --help             Print help

"#]]
    );
}
