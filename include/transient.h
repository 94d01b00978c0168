// transient: builds, lists and removes virtual machine disk images.
//
// Status. A function that can fail returns a transient_status. Results are written only on success. If the caller
// passes a place for it, `error_out` receives on failure an object that says more; NULL is always allowed there.
//
// Handles. What a function writes to an `_out` parameter belongs to the caller, who frees it once with the `_free`
// function of its type; freeing NULL does nothing. A pointer that a function returns belongs to the handle that it
// was asked of, and lives as long as that; NULL in place of the handle gives NULL, 0 or false.
//
// Threads. Functions may be called on any thread. A handle that is passed as `const` may be used by several
// threads at once; one that is not may not. A handle must not be freed while a call uses it.
//
// Strings. What comes in is copied, ends in NUL and must be UTF-8; anything else is an error. What goes out
// ends in NUL and is UTF-8, but for paths of the host, which are the bytes that the system gave.
//
// Enumerations are passed and returned as uint32_t, so that an unknown number is an error and not undefined.
//
// This file is made from the Rust sources by `make header`.


#ifndef TRANSIENT_H
#define TRANSIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>


// The ABI that this header describes: the number in the library's SONAME.
#define TRANSIENT_ABI_VERSION 1

// What became of a call: 0, or the number of an error, the same in every language.
//
// Numbers are never reused. The 100s are what the caller passed in, the 200s the store, the 300s the host, the
// 400s VMs as they run, the 500s a build's own steps, the 900s the rest. Later releases may add some.
enum transient_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // All went well.
  TRANSIENT_STATUS_OK = 0,
  // An option has a value that cannot be used.
  TRANSIENT_STATUS_INVALID_ARGUMENT = 100,
  // A text is no image name or image spec.
  TRANSIENT_STATUS_INVALID_IMAGE_NAME = 101,
  // An Imagefile has errors; each is in transient_error_diagnostic().
  TRANSIENT_STATUS_INVALID_IMAGEFILE = 110,
  // The backend has no image of that name.
  TRANSIENT_STATUS_IMAGE_NOT_FOUND = 200,
  // VMs have disks on the image; they are named in transient_error_vm().
  TRANSIENT_STATUS_IMAGE_IN_USE = 201,
  // A file is no valid disk image, or one that is refused because it points at other files.
  TRANSIENT_STATUS_INVALID_IMAGE = 202,
  // An image could not be brought in from its source.
  TRANSIENT_STATUS_SOURCE_FAILED = 203,
  // The backend has an image of that name already.
  TRANSIENT_STATUS_IMAGE_EXISTS = 204,
  // A file is there already that would have to be replaced.
  TRANSIENT_STATUS_FILE_EXISTS = 205,
  // The VM store has no VM of that name.
  TRANSIENT_STATUS_VM_NOT_FOUND = 210,
  // The VM store has a VM of that name already.
  TRANSIENT_STATUS_VM_EXISTS = 211,
  // Somebody else uses the VM.
  TRANSIENT_STATUS_VM_IN_USE = 212,
  // No VM of that name runs, or none that SSH reaches.
  TRANSIENT_STATUS_VM_NOT_RUNNING = 213,
  // A program that is needed is not installed.
  TRANSIENT_STATUS_MISSING_PROGRAM = 300,
  // A program that is needed could not be run, or failed.
  TRANSIENT_STATUS_PROGRAM_FAILED = 301,
  // The disk of the host is full.
  TRANSIENT_STATUS_HOST_DISK_FULL = 302,
  // No appliance was found, and none could be assembled.
  TRANSIENT_STATUS_APPLIANCE_NOT_FOUND = 310,
  // The appliance cannot be used, or could not be assembled.
  TRANSIENT_STATUS_APPLIANCE_INVALID = 311,
  // QEMU did not start, or ended before its time.
  TRANSIENT_STATUS_QEMU_FAILED = 400,
  // The builder VM, or another one, did not answer in time, or what is done took too long.
  TRANSIENT_STATUS_TIMEOUT = 401,
  // The guest's kernel panicked.
  TRANSIENT_STATUS_GUEST_PANIC = 402,
  // The guest ran out of memory.
  TRANSIENT_STATUS_GUEST_OUT_OF_MEMORY = 403,
  // KVM was asked for and does not work here.
  TRANSIENT_STATUS_KVM_UNUSABLE = 404,
  // The connection to the builder VM, or to another one, broke or made no sense.
  TRANSIENT_STATUS_CONNECTION_LOST = 405,
  // The guest does not let us in by SSH, or is another one than before.
  TRANSIENT_STATUS_SSH_FAILED = 406,
  // A command of the image ended with a non-zero status, see transient_error_exit_status().
  TRANSIENT_STATUS_COMMAND_FAILED = 500,
  // A step could not be carried out in the guest.
  TRANSIENT_STATUS_STEP_FAILED = 501,
  // A source of COPY or ADD does not exist or cannot be read, or leaves the build directory.
  TRANSIENT_STATUS_INVALID_SOURCE = 502,
  // INSPECT needs a terminal, and there is none.
  TRANSIENT_STATUS_NOT_A_TERMINAL = 503,
  // The filesystem of the image is full.
  TRANSIENT_STATUS_IMAGE_FULL = 504,
  // An existing image has no filesystem that looks like a root.
  TRANSIENT_STATUS_NO_ROOT_FILESYSTEM = 505,
  // Reading or writing a file failed.
  TRANSIENT_STATUS_IO = 900,
  // The call was cancelled.
  TRANSIENT_STATUS_CANCELLED = 901,
  // The library is at fault.
  TRANSIENT_STATUS_INTERNAL = 999,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_status transient_status;
#else
typedef uint32_t transient_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a `transient_difference` is of. Later releases may add some.
enum transient_difference_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // One that this header does not have.
  TRANSIENT_DIFFERENCE_KIND_OTHER = 0,
  // The text of an instruction, in its usual form.
  TRANSIENT_DIFFERENCE_KIND_INSTRUCTION = 1,
  // The content of the image that the build is FROM.
  TRANSIENT_DIFFERENCE_KIND_BASE_IMAGE = 2,
  // The appliance, which has the kernel and all programs that make filesystems.
  TRANSIENT_DIFFERENCE_KIND_APPLIANCE = 3,
  // Whether RUN reaches a network.
  TRANSIENT_DIFFERENCE_KIND_NETWORK = 4,
  // Whether there is such a file.
  TRANSIENT_DIFFERENCE_KIND_EXISTENCE = 5,
  // The type: `file`, `directory`, `link` or `special`.
  TRANSIENT_DIFFERENCE_KIND_FILE_TYPE = 6,
  // The mode of a file, in octal digits.
  TRANSIENT_DIFFERENCE_KIND_MODE = 7,
  // The bytes of a file.
  TRANSIENT_DIFFERENCE_KIND_CONTENT = 8,
  // Where a link leads.
  TRANSIENT_DIFFERENCE_KIND_LINK_TARGET = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_difference_kind transient_difference_kind;
#else
typedef uint32_t transient_difference_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which member of `transient_event_data` holds the event. Later releases may add some: ignore what is unknown.
enum transient_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // `step_started`
  TRANSIENT_EVENT_KIND_STEP_STARTED = 1,
  // `step_finished`
  TRANSIENT_EVENT_KIND_STEP_FINISHED = 2,
  // `builder_started`
  TRANSIENT_EVENT_KIND_BUILDER_STARTED = 3,
  // `output`
  TRANSIENT_EVENT_KIND_OUTPUT = 4,
  // `progress`
  TRANSIENT_EVENT_KIND_PROGRESS = 5,
  // `warning`
  TRANSIENT_EVENT_KIND_WARNING = 6,
  // `note`
  TRANSIENT_EVENT_KIND_NOTE = 7,
  // `build_finished`
  TRANSIENT_EVENT_KIND_BUILD_FINISHED = 8,
  // `pull_finished`
  TRANSIENT_EVENT_KIND_PULL_FINISHED = 9,
  // `export_finished`
  TRANSIENT_EVENT_KIND_EXPORT_FINISHED = 10,
  // `explanation`
  TRANSIENT_EVENT_KIND_EXPLANATION = 11,
  // `step_failed`
  TRANSIENT_EVENT_KIND_STEP_FAILED = 12,
  // `vm_starting`
  TRANSIENT_EVENT_KIND_VM_STARTING = 13,
  // `serial_output`
  TRANSIENT_EVENT_KIND_SERIAL_OUTPUT = 14,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_event_kind transient_event_kind;
#else
typedef uint32_t transient_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The two output streams of a command.
enum transient_stream
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Standard output.
  TRANSIENT_STREAM_STDOUT = 1,
  // Standard error.
  TRANSIENT_STREAM_STDERR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_stream transient_stream;
#else
typedef uint32_t transient_stream;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What runs the guest's instructions.
enum transient_accelerator
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // KVM where it works, else TCG.
  TRANSIENT_ACCELERATOR_AUTO = 0,
  // The processor itself. Where it does not work, that is an error.
  TRANSIENT_ACCELERATOR_KVM = 1,
  // QEMU's emulation.
  TRANSIENT_ACCELERATOR_TCG = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_accelerator transient_accelerator;
#else
typedef uint32_t transient_accelerator;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How the clusters of an image are compressed, which VMs read as they are.
enum transient_compression
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Not at all.
  TRANSIENT_COMPRESSION_NONE = 0,
  // With zlib, which every QEMU reads.
  TRANSIENT_COMPRESSION_ZLIB = 1,
  // With zstd, faster, and smaller; QEMU 5.1 and later read it.
  TRANSIENT_COMPRESSION_ZSTD = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_compression transient_compression;
#else
typedef uint32_t transient_compression;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The guest's network.
enum transient_network
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // QEMU's user network: out to where the host reaches, nothing in.
  TRANSIENT_NETWORK_USER = 0,
  // No network card.
  TRANSIENT_NETWORK_NONE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_network transient_network;
#else
typedef uint32_t transient_network;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What happens when a step fails, before the build does.
enum transient_on_failure
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Nothing more.
  TRANSIENT_ON_FAILURE_STOP = 0,
  // The terminal gets a shell in the state before the step, in a VM of its own. Nothing that is done in it is kept.
  TRANSIENT_ON_FAILURE_SHELL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_on_failure transient_on_failure;
#else
typedef uint32_t transient_on_failure;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What an image was made from.
enum transient_provenance_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Of a later release.
  TRANSIENT_PROVENANCE_KIND_OTHER = 0,
  // An Imagefile.
  TRANSIENT_PROVENANCE_KIND_BUILD = 1,
  // A source.
  TRANSIENT_PROVENANCE_KIND_PULL = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_provenance_kind transient_provenance_kind;
#else
typedef uint32_t transient_provenance_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The format of an exported file.
enum transient_export_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // What the file's name ends in, whether or not `.gz`, `.xz` or `.zst` follows; raw for `.img`, else qcow2.
  TRANSIENT_EXPORT_FORMAT_AUTO = 0,
  // QEMU's own.
  TRANSIENT_EXPORT_FORMAT_QCOW2 = 1,
  // The disk byte by byte, with holes where it is empty.
  TRANSIENT_EXPORT_FORMAT_RAW = 2,
  // VMware's, in one file.
  TRANSIENT_EXPORT_FORMAT_VMDK = 3,
  // Hyper-V's, growing.
  TRANSIENT_EXPORT_FORMAT_VHDX = 4,
  // VirtualBox's, growing.
  TRANSIENT_EXPORT_FORMAT_VDI = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_export_format transient_export_format;
#else
typedef uint32_t transient_export_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The instructions by name.
enum transient_keyword
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // `from` of the data
  TRANSIENT_KEYWORD_FROM = 1,
  // `disk` of the data
  TRANSIENT_KEYWORD_DISK = 2,
  // `partition` of the data
  TRANSIENT_KEYWORD_PARTITION = 3,
  // `transfer` of the data
  TRANSIENT_KEYWORD_COPY = 4,
  // `transfer` of the data
  TRANSIENT_KEYWORD_ADD = 5,
  // `run` of the data
  TRANSIENT_KEYWORD_RUN = 6,
  // No data
  TRANSIENT_KEYWORD_INSPECT = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_keyword transient_keyword;
#else
typedef uint32_t transient_keyword;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much a record matters.
enum transient_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Something failed.
  TRANSIENT_LOG_LEVEL_ERROR = 1,
  // Something is not as it should be.
  TRANSIENT_LOG_LEVEL_WARN = 2,
  // What is done.
  TRANSIENT_LOG_LEVEL_INFO = 3,
  // How it is done.
  TRANSIENT_LOG_LEVEL_DEBUG = 4,
  // Every detail.
  TRANSIENT_LOG_LEVEL_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum transient_log_level transient_log_level;
#else
typedef uint32_t transient_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// An appliance on disk: the kernel and the initramfs of the builder VM. It never changes.
typedef struct transient_appliance transient_appliance;

// What to build, and how. It may be used for several builds, also at once; it must not be changed meanwhile.
typedef struct transient_build_options transient_build_options;

// The settings of the builder VM, for what is not a build: copies between this host and the disk of a VM. It may be
// used by several calls at once; it must not be changed meanwhile.
typedef struct transient_builder_options transient_builder_options;

// Bytes. They never change: several threads may read them at once.
typedef struct transient_bytes transient_bytes;

// Ends the calls that it was given to.
typedef struct transient_cancel_token transient_cancel_token;

// What a configuration file says. It never changes: several threads may read it at once.
typedef struct transient_config_file transient_config_file;

// What is copied between this host and the first disk of a VM. It may be used by several calls at once; it must not be
// changed meanwhile.
typedef struct transient_copy_options transient_copy_options;

// Why a call failed. It never changes: several threads may read it at once.
typedef struct transient_error transient_error;

// An image. It never changes: several threads may read it at once.
typedef struct transient_image transient_image;

// What was found out about an image's file. It never changes: several threads may read it at once.
typedef struct transient_image_check transient_image_check;

// What a backend holds, or images that were asked for. It never changes: several threads may read it at once.
typedef struct transient_image_list transient_image_list;

// An image spec, `NAME` or `NAME,PROTOCOL=SOURCE`, with or without a checksum behind it, taken apart. It never
// changes.
typedef struct transient_image_spec transient_image_spec;

// A checked Imagefile. It never changes: several threads may read it at once.
typedef struct transient_imagefile transient_imagefile;

// What is known of an image. It never changes: several threads may read it at once.
typedef struct transient_inspection transient_inspection;

// The layers of a cache. It never changes: several threads may read it at once.
typedef struct transient_layer_list transient_layer_list;

// The folders that the library works with, and how images are downloaded.
typedef struct transient_locations transient_locations;

// Names, or other short texts. It never changes: several threads may read it at once.
typedef struct transient_name_list transient_name_list;

// What a build will do: a step for each instruction, and the layout of a new disk. It never changes.
typedef struct transient_plan transient_plan;

// What was removed, or would be. It never changes: several threads may read it at once.
typedef struct transient_pruned transient_pruned;

// How a VM is run. It may be used for several VMs, also at once; it must not be changed meanwhile.
typedef struct transient_run_options transient_run_options;

// How SSH logs in to a VM. It may be used by several calls at once; it must not be changed meanwhile.
typedef struct transient_ssh_options transient_ssh_options;

// The images of a user, and the VMs that use them. It never changes: several threads may use it at once.
typedef struct transient_store transient_store;

// A VM that this process runs. Several threads may use it at once. Whatever becomes of the process, QEMU ends with it.
//
// A child that was forked has no business with it: there, freeing it ends nothing, and all that needs the VM fails with
// `TRANSIENT_STATUS_VM_NOT_RUNNING`.
typedef struct transient_vm transient_vm;

// The settings of a VM. It may be used by several calls at once; it must not be changed meanwhile.
typedef struct transient_vm_config transient_vm_config;

// What VMs there are. It never changes: several threads may read it at once.
typedef struct transient_vm_list transient_vm_list;

// A file of the initramfs. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // Its path in the guest.
  const char *path;
  // In bytes.
  uint64_t size;
  // Where it was copied from; NULL for what the library makes itself.
  const char *origin;
} transient_included_file;

// A step of a build begins.
typedef struct {
  // Counted from 1.
  size_t step;
  // How many steps the build has.
  size_t steps;
  // The instruction, in its usual form.
  const char *instruction;
  // The line of the Imagefile where it begins, counted from 1.
  size_t line;
} transient_step_started;

// A step of a build is done.
typedef struct {
  // Counted from 1.
  size_t step;
  // How many seconds it took.
  double elapsed;
  // Whether it was not carried out, because its result was in the cache.
  bool cached;
} transient_step_finished;

// The builder VM runs and takes commands.
typedef struct {
  // What runs its instructions: `kvm` or `tcg`.
  const char *accelerator;
  // Seconds since the start of QEMU.
  double elapsed;
  // Whether it did not boot: it was restored from one that was saved.
  bool warm;
} transient_builder_started;

// A command of the image, or in a VM, wrote something.
typedef struct {
  // Where to, a `transient_stream`.
  uint32_t stream;
  // The bytes, as they came; no NUL ends them.
  const uint8_t *data;
  // How many.
  size_t len;
} transient_output;

// Bytes were moved.
typedef struct {
  // What is being done, for example `Copying rootfs.tar.xz`.
  const char *task;
  // Bytes done so far.
  uint64_t done;
  // Bytes in all; 0 when that is not known.
  uint64_t total;
  // Whether this is the task's last progress.
  bool finished;
} transient_progress;

// Something that a person should know, but that is no failure.
typedef struct {
  // What, in one sentence.
  const char *message;
  // What can be done about it; may be NULL.
  const char *hint;
} transient_warning;

// A detail of interest, for example an fstab entry that was skipped.
typedef struct {
  // What, in one sentence.
  const char *message;
} transient_note;

// The image is whole, and others can see it.
typedef struct {
  // The image.
  const transient_image *image;
  // Seconds since the start of the build.
  double elapsed;
} transient_build_finished;

// An image is in the backend, as was asked for.
typedef struct {
  // The image.
  const transient_image *image;
  // Whether it was brought in; else it was there already.
  bool fetched;
  // How many seconds it took.
  double elapsed;
} transient_pull_finished;

// The file of an export is whole, and at its place.
typedef struct {
  // The file.
  const char *path;
  // What it occupies on the host's disk, in bytes.
  uint64_t real_size;
  // How many seconds it took.
  double elapsed;
} transient_export_finished;

// Something that is not as in the last build of the same image.
typedef struct {
  // What differs, a `transient_difference_kind`.
  uint32_t kind;
  // The file that it is about, from the build directory; NULL when it is about no file.
  const char *path;
  // How it was: an instruction, a mode, a type, or a digest, never contents. NULL when it was not there.
  const char *before;
  // How it is now; NULL when it is not there any more.
  const char *now;
  // The same in words, in one line.
  const char *message;
} transient_difference;

// Why steps are carried out and not taken from the cache: what the first of them is made of, compared with the last
// build of the same image. Only when it is asked for: `transient_build_options_set_explain`.
typedef struct {
  // The first step that is carried out, counted from 1; 0 when all are in the cache.
  size_t step;
  // Why, in one sentence.
  const char *reason;
  // What differs, or the first of it. Digests, never contents.
  const transient_difference *differences;
  // How many `differences` has.
  size_t differences_len;
  // How many differences there are besides.
  size_t more;
} transient_explanation;

// A step failed, and a shell opens in the state before it. The build ends with the error after that.
typedef struct {
  // Counted from 1.
  size_t step;
  // The whole error as a person needs to see it, over several lines.
  const char *error;
} transient_step_failed;

// Everything is in place, and a VM starts.
typedef struct {
  // Its name.
  const char *name;
  // The image that it starts from.
  const char *image;
} transient_vm_starting;

// A VM's serial console showed something, before SSH was connected. Only when it is asked for:
// `transient_vm_config_set_ssh_with_serial`.
typedef struct {
  // The bytes, as they came; no NUL ends them.
  const uint8_t *data;
  // How many.
  size_t len;
} transient_serial_output;

// What happened; the event's kind says which member it is.
typedef union {
  // A step of a build begins.
  transient_step_started step_started;
  // A step of a build is done.
  transient_step_finished step_finished;
  // The builder VM runs and takes commands.
  transient_builder_started builder_started;
  // A command wrote something.
  transient_output output;
  // Bytes were moved.
  transient_progress progress;
  // Something that a person should know.
  transient_warning warning;
  // A detail of interest.
  transient_note note;
  // The image is whole.
  transient_build_finished build_finished;
  // An image is in the backend.
  transient_pull_finished pull_finished;
  // The file of an export is whole.
  transient_export_finished export_finished;
  // Why steps are carried out.
  transient_explanation explanation;
  // A step failed, and a shell opens.
  transient_step_failed step_failed;
  // A VM starts.
  transient_vm_starting vm_starting;
  // A VM's serial console showed something.
  transient_serial_output serial_output;
} transient_event_data;

// One thing that happened. It, and all that it points to, is valid during the callback only. Made by the library
// alone; later releases may add members, and fields at their ends.
typedef struct {
  // A `transient_event_kind`.
  uint32_t kind;
  // What happened.
  transient_event_data data;
} transient_event;

// Is told of events.
typedef void (*transient_event_callback)(void *user_data, const transient_event *event);

// Ends the user data of a callback.
typedef void (*transient_finalizer)(void *user_data);

// One error of an Imagefile. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // What is wrong, one line.
  const char *message;
  // The file, as it was named to the library.
  const char *file;
  // The line, counted from 1.
  size_t line;
  // The column in characters, counted from 1.
  size_t column;
  // The first byte of the place in the text.
  size_t start;
  // The byte after the last.
  size_t end;
  // The line itself, without its end.
  const char *text;
  // What was expected there, or what to do; NULL when that is not known.
  const char *help;
} transient_diagnostic;

// FROM: what an image is built from.
typedef struct {
  // The image's name in the backend; NULL is `scratch`, an empty disk.
  const char *name;
  // `file`, `http` or `vagrant`; NULL when no source is named.
  const char *protocol;
  // Where the image comes from; NULL when no source is named.
  const char *source;
  // What the bytes of the source must add up to, for example `sha256=` and 64 digits; NULL when that is not said.
  const char *checksum;
} transient_from;

// DISK: the disk of an image that is built from scratch.
typedef struct {
  // In bytes.
  uint64_t size;
  // `GPT` or `MBR`.
  const char *label;
} transient_disk;

// PARTITION: one partition of the disk.
typedef struct {
  // Its number in the table.
  uint32_t number;
  // In bytes; 0 is all that is left.
  uint64_t size;
  // The filesystem to make, for example `ext4`; NULL is none.
  const char *format;
  // More words for the `mkfs` program.
  const char *const *options;
  // How many.
  size_t options_len;
  // Where it is mounted during the build; NULL is nowhere.
  const char *mount;
  // Any of `boot`, `efi` and `bios_grub`.
  const char *const *flags;
  // How many.
  size_t flags_len;
} transient_partition;

// COPY and ADD: what goes from the build directory into the image.
typedef struct {
  // Paths relative to the build directory.
  const char *const *sources;
  // How many, at least one.
  size_t sources_len;
  // A path in the image.
  const char *destination;
} transient_transfer;

// RUN: a command for `/bin/sh -c`.
typedef struct {
  // The command.
  const char *command;
} transient_run;

// The arguments of an instruction; its keyword says which member it is.
typedef union {
  // FROM
  transient_from from;
  // DISK
  transient_disk disk;
  // PARTITION
  transient_partition partition;
  // COPY and ADD
  transient_transfer transfer;
  // RUN
  transient_run run;
} transient_instruction_data;

// An instruction. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // A `transient_keyword`.
  uint32_t keyword;
  // The instruction in its usual form, on one line.
  const char *text;
  // The line where it begins, counted from 1.
  size_t line;
  // The first byte of its place in the text.
  size_t start;
  // The byte after the last.
  size_t end;
  // Its arguments.
  transient_instruction_data data;
} transient_instruction;

// What an image's file says of itself. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // The format of the file: `qcow2`.
  const char *format;
  // When the file was last written, as in RFC 3339, in UTC.
  const char *created;
  // The release of QEMU that this version of qcow2 came with: `0.10` or `1.1`.
  const char *compat;
  // How the clusters that are compressed are: `zlib` or `zstd`.
  const char *compression;
  // The size of a cluster, in bytes.
  uint64_t cluster_size;
  // The name of the image that it was built from; NULL if that is not known, or it was none.
  const char *parent;
} transient_image_details;

// How an image was made. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // What it was made from, a `transient_provenance_kind`.
  uint32_t kind;
  // Tells this making from any other, in hexadecimal digits. The same image under another name has the same.
  const char *id;
  // When the image was whole, as in RFC 3339, in UTC.
  const char *created;
  // The release of transient that made it.
  const char *version;
  // Build: the name of the image that it started from; NULL is an empty disk.
  const char *parent;
  // Build: the `id` that the parent had; NULL if there was none.
  const char *parent_id;
  // Build: the length of the parent's file, in bytes.
  uint64_t parent_length;
  // Build: when the parent's file was last written, in nanoseconds since 1970.
  int64_t parent_modified;
  // Build: what ran the builder VM's instructions, `kvm` or `tcg`; else NULL.
  const char *accelerator;
  // Build: the key of the appliance that was the builder VM; else NULL.
  const char *appliance;
  // Pull: the spec, without what may be secret in a URL; else NULL.
  const char *spec;
  // Pull: the format that the source had, for example `vmdk`; else NULL.
  const char *format;
  // Pull: how the source was compressed, for example `xz`; NULL if it was not.
  const char *compression;
  // Pull: what the source was compared with, for example `sha256=` and 64 hexadecimal digits; NULL if it was not.
  const char *checksum;
} transient_provenance;

// One step of those that made an image. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // The image that it was done for.
  const char *image;
  // The instruction of the Imagefile, or `PULL` and the spec, without what may be secret in a URL.
  const char *instruction;
  // When it was done, as in RFC 3339, in UTC.
  const char *finished;
  // How long it took, in seconds.
  double elapsed;
} transient_history_step;

// A layer of the cache. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // What it is found by, 64 hexadecimal digits.
  const char *key;
  // The key of the layer that it stands on; NULL on an empty disk, or on an image.
  const char *parent;
  // The instruction that made it, the last of several; empty for the end of a build.
  const char *instruction;
  // What it occupies, in bytes.
  uint64_t size;
  // When a build last used it, as in RFC 3339, in UTC.
  const char *used;
} transient_cached_layer;

// Is told of log records. `level` is a `transient_log_level`, `target` the part of the library; both strings are
// valid during the call only. It may be called on any thread, but never on two at once.
typedef void (*transient_log_callback)(void *user_data,
                                       uint32_t level,
                                       const char *target,
                                       const char *message);

// A partition of a new disk, placed. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // Its number in the table.
  uint32_t number;
  // Its first byte on the disk.
  uint64_t start;
  // In bytes; 0 is all that is left.
  uint64_t size;
  // MBR: active; GPT: the attribute "legacy BIOS bootable".
  bool boot;
  // What its type says that it holds: `linux`, `swap`, `efi-system` or `bios-boot`.
  const char *kind;
} transient_placed_partition;

// Where a partition is mounted. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // The partition's number.
  uint32_t partition;
  // An absolute path in the image.
  const char *path;
  // The filesystem, for example `ext4`.
  const char *filesystem;
} transient_mount;

// A VM of the VM store, or one that runs. Made by the library alone; later releases may add fields at the end.
typedef struct {
  // Its name.
  const char *name;
  // The image that its first disk is from.
  const char *image;
  // Whether it is reached by SSH, or will be when it runs.
  bool ssh;
  // Whether the VM store has it.
  bool stored;
  // Whether it runs. What follows is 0 or false when it does not.
  bool running;
  // Whether nothing of it is kept.
  bool stateless;
  // The port of this host's loopback that leads to its port 22; 0 when it is not reached by SSH.
  uint16_t ssh_port;
  // The process that it ends with.
  uint32_t pid;
  // The QEMU process.
  uint32_t qemu_pid;
  // When it started, in seconds since 1970.
  double started;
} transient_vm_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Finds the appliance that builds use. `locations` NULL is what `transient_locations_from_env` gives. Where there
// is none, one is assembled into the cache from the host's kernel. The caller owns `*appliance_out`:
// `transient_appliance_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_APPLIANCE_NOT_FOUND` when there is none and none can be assembled, with
// `TRANSIENT_STATUS_APPLIANCE_INVALID` when the one that must be used cannot be.
transient_status transient_appliance_find(const transient_locations *locations,
                                          transient_appliance **appliance_out,
                                          transient_error **error_out);

// Reads the description of the appliance in a folder. Whether it fits this library,
// `transient_appliance_is_current` tells. The caller owns `*appliance_out`: `transient_appliance_free`. Any
// thread may call this.
//
// Fails with `TRANSIENT_STATUS_APPLIANCE_NOT_FOUND` or `TRANSIENT_STATUS_APPLIANCE_INVALID`.
transient_status transient_appliance_open(const char *folder,
                                          transient_appliance **appliance_out,
                                          transient_error **error_out);

// Assembles an appliance into a folder, replacing one that is there when all is whole. Needs neither root nor a
// shell. `kernel` NULL is the newest of the host that can be read; `modules`, a folder like
// `/lib/modules/RELEASE`, NULL is the host's for this kernel. The caller owns `*appliance_out`:
// `transient_appliance_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_APPLIANCE_INVALID` when an input is missing or cannot be used, with
// `TRANSIENT_STATUS_MISSING_PROGRAM` when the host lacks a tool that the guest must have, with
// `TRANSIENT_STATUS_APPLIANCE_NOT_FOUND` when no kernel is named and the host has none.
transient_status transient_appliance_build(const char *kernel,
                                           const char *modules,
                                           const char *folder,
                                           transient_appliance **appliance_out,
                                           transient_error **error_out);

// Returns the folder. Lives as long as the appliance.
const char *transient_appliance_folder(const transient_appliance *appliance);

// Returns the kernel file. Lives as long as the appliance.
const char *transient_appliance_kernel(const transient_appliance *appliance);

// Returns the initramfs file. Lives as long as the appliance.
const char *transient_appliance_initramfs(const transient_appliance *appliance);

// Returns the hash of everything that went into it. Lives as long as the appliance.
const char *transient_appliance_key(const transient_appliance *appliance);

// Returns the hash of the guest program. Lives as long as the appliance.
const char *transient_appliance_guest(const transient_appliance *appliance);

// Returns the kernel's release, as `uname -r` prints it. Lives as long as the appliance.
const char *transient_appliance_kernel_release(const transient_appliance *appliance);

// Returns how QEMU starts the kernel: `pvh` for an ELF file with a PVH entry point, `linux` for a bzImage. Lives
// as long as the appliance.
const char *transient_appliance_boot(const transient_appliance *appliance);

// Returns whether the guest program in it is the one that this library speaks with.
bool transient_appliance_is_current(const transient_appliance *appliance);

// Returns how many tools it lacks.
size_t transient_appliance_absent_len(const transient_appliance *appliance);

// Returns a tool that the host did not have, so that its filesystem cannot be made; NULL behind the last. Lives
// as long as the appliance.
const char *transient_appliance_absent(const transient_appliance *appliance,
                                       size_t index);

// Returns how many files the initramfs has.
size_t transient_appliance_files_len(const transient_appliance *appliance);

// Returns a file of the initramfs; NULL behind the last. Lives as long as the appliance.
const transient_included_file *transient_appliance_file(const transient_appliance *appliance, size_t index);

// Frees an appliance. NULL is ignored. What is on disk stays.
void transient_appliance_free(transient_appliance *appliance);

// Makes options with all defaults. `directory` is the build directory, where sources of COPY and ADD are looked
// for; `name` is the name of the new image. Both are copied. The caller owns `*options_out`:
// `transient_build_options_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
transient_status transient_build_options_new(const char *directory,
                                             const char *name,
                                             transient_build_options **options_out,
                                             transient_error **error_out);

// Frees options, once no build uses them. NULL is ignored.
void transient_build_options_free(transient_build_options *options);

// Sets the Imagefile; NULL is `Imagefile` in the build directory, the default. `path` is copied.
transient_status transient_build_options_set_file(transient_build_options *options,
                                                  const char *path,
                                                  transient_error **error_out);

// Sets whether the image goes into the build directory, as `NAME.qcow2`, and not into the backend. The default is
// false.
transient_status transient_build_options_set_local(transient_build_options *options,
                                                   bool local,
                                                   transient_error **error_out);

// Sets how the clusters of the image are compressed, a `transient_compression`. The default is
// `TRANSIENT_COMPRESSION_NONE`.
transient_status transient_build_options_set_compress(transient_build_options *options,
                                                      uint32_t compression,
                                                      transient_error **error_out);

// Sets whether every step is carried out, also those whose result is in the cache; the cache gets the new ones. The
// default is false.
transient_status transient_build_options_set_no_cache(transient_build_options *options,
                                                      bool no_cache,
                                                      transient_error **error_out);

// Sets the first step, counted from 1, that is carried out though its result may be in the cache, with all that follow;
// the cache gets the new ones. 0 takes from the cache what is there, the default; 1 is the same as
// `transient_build_options_set_no_cache`. A build that has not so many steps fails with
// `TRANSIENT_STATUS_INVALID_ARGUMENT`.
transient_status transient_build_options_set_no_cache_from(transient_build_options *options,
                                                           size_t step,
                                                           transient_error **error_out);

// Sets whether a `TRANSIENT_EVENT_KIND_EXPLANATION` tells why the first step that is carried out is not taken from the
// cache. The default is false.
transient_status transient_build_options_set_explain(transient_build_options *options,
                                                     bool explain,
                                                     transient_error **error_out);

// Sets how many bytes the layers in the cache may occupy after the build, those in use aside. The default is 20 GiB.
transient_status transient_build_options_set_cache_limit(transient_build_options *options,
                                                         uint64_t bytes,
                                                         transient_error **error_out);

// Sets what happens when a step fails, before the build does, a `transient_on_failure`. The default is
// `TRANSIENT_ON_FAILURE_STOP`; `TRANSIENT_ON_FAILURE_SHELL` needs `transient_build_options_set_terminal`.
transient_status transient_build_options_set_on_failure(transient_build_options *options,
                                                        uint32_t on_failure,
                                                        transient_error **error_out);

// Sets the name of an image, which must be free, that is made in the backend of the state before a step that fails; the
// build fails all the same, and a hint of its error names the image. NULL makes none, the default. `name` is copied.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
transient_status transient_build_options_set_keep_failed(transient_build_options *options,
                                                         const char *name,
                                                         transient_error **error_out);

// Sets the memory of the builder VM, in bytes; 0 is 2 GiB or what the host can spare, the default.
transient_status transient_build_options_set_memory(transient_build_options *options,
                                                    uint64_t bytes,
                                                    transient_error **error_out);

// Sets the virtual CPUs of the builder VM, at most 255; 0 is all that the host has, up to 4, the default.
transient_status transient_build_options_set_cpus(transient_build_options *options,
                                                  uint32_t cpus,
                                                  transient_error **error_out);

// Sets what runs the guest's instructions, a `transient_accelerator`. The default is
// `TRANSIENT_ACCELERATOR_AUTO`.
transient_status transient_build_options_set_accelerator(transient_build_options *options,
                                                         uint32_t accelerator,
                                                         transient_error **error_out);

// Sets the guest's network, a `transient_network`. The default is `TRANSIENT_NETWORK_USER`.
transient_status transient_build_options_set_network(transient_build_options *options,
                                                     uint32_t network,
                                                     transient_error **error_out);

// Sets whether a builder VM that was saved when it had booted is restored, which is faster than to boot; where there is
// none, one is saved. Only without KVM. The default is true.
transient_status transient_build_options_set_warm_start(transient_build_options *options,
                                                        bool warm_start,
                                                        transient_error **error_out);

// Sets the QEMU program, a name or a path. The default is `qemu-system-x86_64`. `program` is copied.
transient_status transient_build_options_set_qemu(transient_build_options *options,
                                                  const char *program,
                                                  transient_error **error_out);

// Sets how many seconds QEMU may take to answer; 0 is the default, 10.
transient_status transient_build_options_set_qmp_timeout(transient_build_options *options,
                                                         double seconds,
                                                         transient_error **error_out);

// Sets how many seconds the guest may take to answer; 0 is the default, 90, and three times that under TCG.
transient_status transient_build_options_set_ssh_timeout(transient_build_options *options,
                                                         double seconds,
                                                         transient_error **error_out);

// Sets what INSPECT and a shell on failure talk to; without it, these are errors. `input` must be a terminal, where keys are read
// from; it is set to raw mode while the shell runs. The shell's output goes to `output`. Both are duplicated.
// `term` is the value of `TERM`, for example `xterm-256color`; it is copied.
transient_status transient_build_options_set_terminal(transient_build_options *options,
                                                      int input,
                                                      int output,
                                                      const char *term,
                                                      transient_error **error_out);

// Builds an image, and returns when it is whole and others can see it, or when it has failed and the store is as
// it was.
//
// `on_event` may be NULL; else it is called on the calling thread, with `user_data`, for each event, and never
// again once this function has returned. It must not unwind. `finalizer` may be NULL; else it is called once
// with `user_data` on the calling thread before this function returns, whatever the outcome.
//
// `cancel` may be NULL. Any thread may cancel; the build then cleans up and fails with
// `TRANSIENT_STATUS_CANCELLED`.
//
// `image_out` may be NULL; else on success the caller owns `*image_out`: `transient_image_free`.
//
// Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
//
// Fails with any status.
transient_status transient_build(const transient_store *store,
                                 const transient_build_options *options,
                                 transient_event_callback on_event,
                                 void *user_data,
                                 transient_finalizer finalizer,
                                 const transient_cancel_token *cancel,
                                 transient_image **image_out,
                                 transient_error **error_out);

// Makes settings with all defaults. The caller owns `*options_out`: `transient_builder_options_free`. Any thread may
// call this.
transient_status transient_builder_options_new(transient_builder_options **options_out,
                                               transient_error **error_out);

// Frees settings. NULL is ignored.
void transient_builder_options_free(transient_builder_options *options);

// Sets its memory, in bytes; 0 is 2 GiB or what the host can spare, the default.
transient_status transient_builder_options_set_memory(transient_builder_options *options,
                                                      uint64_t bytes,
                                                      transient_error **error_out);

// Sets its virtual CPUs, at most 255; 0 is all that the host has, up to 4, the default.
transient_status transient_builder_options_set_cpus(transient_builder_options *options,
                                                    uint32_t cpus,
                                                    transient_error **error_out);

// Sets what runs its instructions, a `transient_accelerator`. The default is `TRANSIENT_ACCELERATOR_AUTO`.
transient_status transient_builder_options_set_accelerator(transient_builder_options *options,
                                                           uint32_t accelerator,
                                                           transient_error **error_out);

// Sets its network, a `transient_network`. The default is `TRANSIENT_NETWORK_USER`.
transient_status transient_builder_options_set_network(transient_builder_options *options,
                                                       uint32_t network,
                                                       transient_error **error_out);

// Sets whether one that was saved when it had booted is restored, as `transient_build_options_set_warm_start` does.
transient_status transient_builder_options_set_warm_start(transient_builder_options *options,
                                                          bool warm_start,
                                                          transient_error **error_out);

// Sets the QEMU program, a name or a path. The default is `qemu-system-x86_64`. `program` is copied.
transient_status transient_builder_options_set_qemu(transient_builder_options *options,
                                                    const char *program,
                                                    transient_error **error_out);

// Sets how many seconds QEMU may take to answer; 0 is the default, 10.
transient_status transient_builder_options_set_qmp_timeout(transient_builder_options *options,
                                                           double seconds,
                                                           transient_error **error_out);

// Sets how many seconds the guest may take to answer; 0 is the default, 90, and three times that under TCG.
transient_status transient_builder_options_set_ssh_timeout(transient_builder_options *options,
                                                           double seconds,
                                                           transient_error **error_out);

// Returns the bytes; a NUL follows the last of them. Lives as long as the handle.
const uint8_t *transient_bytes_data(const transient_bytes *bytes);

// Returns how many there are, the NUL not counted.
size_t transient_bytes_len(const transient_bytes *bytes);

// Frees bytes. NULL is ignored.
void transient_bytes_free(transient_bytes *bytes);

// Makes a token that nobody has cancelled. The caller owns it: `transient_cancel_token_free`.
transient_cancel_token *transient_cancel_token_new(void);

// Ends the calls that hold this token, now and from now on. They clean up, then return
// `TRANSIENT_STATUS_CANCELLED`.
//
// Any thread may call this, also an event callback; a signal handler must not. NULL is ignored.
void transient_cancel_token_cancel(const transient_cancel_token *token);

// Returns whether `transient_cancel_token_cancel` was called. Any thread may ask. NULL gives false.
bool transient_cancel_token_is_cancelled(const transient_cancel_token *token);

// Frees a token. NULL is ignored. A call that was given it goes on, and can no longer be cancelled by it.
void transient_cancel_token_free(transient_cancel_token *token);

// Checks an Imagefile as far as that goes without fetching, booting or making anything: its text, that the sources
// of COPY and ADD are in the build directory, and that the image it starts from is in the backend, or may come from
// somewhere.
//
// `file` is the Imagefile; NULL is `Imagefile` in `directory`. `plan_out` may be NULL; else on success the caller
// owns `*plan_out`: `transient_plan_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGEFILE`, with every mistake: `transient_error_diagnostic`; with
// `TRANSIENT_STATUS_INVALID_ARGUMENT` when there is no such file or directory.
transient_status transient_check(const transient_store *store,
                                 const char *directory,
                                 const char *file,
                                 transient_plan **plan_out,
                                 transient_error **error_out);

// Finds out whether one image is whole: first the library follows its tables, then `qemu-img` does. The caller owns
// `*check_out`: `transient_image_check_free`. Any thread may call this.
//
// `cancel` may be NULL. Any thread may cancel; the call then fails with `TRANSIENT_STATUS_CANCELLED`.
//
// What is wrong with the image is no failure. Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, and with
// `TRANSIENT_STATUS_MISSING_PROGRAM` or `TRANSIENT_STATUS_PROGRAM_FAILED` when `qemu-img` does not do its work.
transient_status transient_store_check(const transient_store *store,
                                       const char *name,
                                       const transient_cancel_token *cancel,
                                       transient_image_check **check_out,
                                       transient_error **error_out);

// Returns whether nothing is wrong with the image. NULL gives false.
bool transient_image_check_is_sound(const transient_image_check *check);

// Returns the image's name. Lives as long as the check.
const char *transient_image_check_name(const transient_image_check *check);

// Returns the path of the image's file. Lives as long as the check.
const char *transient_image_check_path(const transient_image_check *check);

// Returns why the image must not be used at all, so that no more was looked at; NULL when it may be. Lives as long
// as the check.
const char *transient_image_check_refusal(const transient_image_check *check);

// Returns what can be done about the refusal, or NULL. Lives as long as the check.
const char *transient_image_check_hint(const transient_image_check *check);

// Returns how many places of the image contradict one another: bytes of its disk are lost, or will be.
uint64_t transient_image_check_corruptions(const transient_image_check *check);

// Returns how many clusters are taken by nothing: they waste space, and do no other harm.
uint64_t transient_image_check_leaks(const transient_image_check *check);

// Frees a check. NULL is ignored. The image stays.
void transient_image_check_free(transient_image_check *check);

// Makes a new image of the first disk of a VM that does not run; the VM stays as it is. `vm` is its name, `name` that of
// the image, `compression` a `transient_compression`.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. `image_out` may be NULL; else on success
// the caller owns `*image_out`: `transient_image_free`. Any thread may call this, and several at once.
//
// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, `TRANSIENT_STATUS_VM_IN_USE` and `TRANSIENT_STATUS_IMAGE_EXISTS`.
transient_status transient_commit(const transient_store *store,
                                  const char *vm,
                                  const char *name,
                                  uint32_t compression,
                                  transient_event_callback on_event,
                                  void *user_data,
                                  transient_finalizer finalizer,
                                  const transient_cancel_token *cancel,
                                  transient_image **image_out,
                                  transient_error **error_out);

// Reads a configuration file: TOML with the names of the command line's flags as keys. The caller owns `*file_out`:
// `transient_config_file_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT`, whose message names all that is wrong with their lines, and with
// `TRANSIENT_STATUS_IO`.
transient_status transient_config_file_read(const char *path,
                                            transient_config_file **file_out,
                                            transient_error **error_out);

// Makes the settings of a VM that the file has. The caller owns `*config_out`: `transient_vm_config_free`. Any thread
// may call this.
transient_status transient_config_file_vm_config(const transient_config_file *file,
                                                 transient_vm_config **config_out,
                                                 transient_error **error_out);

// Makes options to run that VM, with the copies that the file names, and how long they may take. The caller owns
// `*options_out`: `transient_run_options_free`. Any thread may call this.
transient_status transient_config_file_run_options(const transient_config_file *file,
                                                   transient_run_options **options_out,
                                                   transient_error **error_out);

// Returns the backend that the file names, for `transient_locations_set_backend`; NULL when it names none. Lives as
// long as the file.
const char *transient_config_file_backend(const transient_config_file *file);

// Returns the VM store that the file names, for `transient_locations_set_vmstore`; NULL when it names none. Lives as
// long as the file.
const char *transient_config_file_vmstore(const transient_config_file *file);

// Frees what `transient_config_file_read` gave. NULL is ignored.
void transient_config_file_free(transient_config_file *file);

// Makes options that copy nothing. The caller owns `*options_out`: `transient_copy_options_free`. Any thread may call
// this.
transient_status transient_copy_options_new(transient_copy_options **options_out,
                                            transient_error **error_out);

// Frees options. NULL is ignored.
void transient_copy_options_free(transient_copy_options *options);

// Adds a copy into the VM; these come before those out of it. `source` is a file, folder or link of this host.
// `destination`, an absolute path of the guest, is a folder below which it goes, or else its new name. Both are
// copied.
transient_status transient_copy_options_add_into(transient_copy_options *options,
                                                 const char *source,
                                                 const char *destination,
                                                 transient_error **error_out);

// Adds a copy out of the VM. `source` is an absolute path of the guest. `destination`, a path of this host, is a
// folder below which it goes, or else its new name. Both are copied.
transient_status transient_copy_options_add_out(transient_copy_options *options,
                                                const char *source,
                                                const char *destination,
                                                transient_error **error_out);

// Sets how many seconds all of it may take; 0 is as long as it likes, the default.
transient_status transient_copy_options_set_timeout(transient_copy_options *options,
                                                    double seconds,
                                                    transient_error **error_out);

// Sets the VM in which the copies are made. `builder` is copied.
transient_status transient_copy_options_set_builder(transient_copy_options *options,
                                                    const transient_builder_options *builder,
                                                    transient_error **error_out);

// Copies between this host and the first disk of a VM of the VM store that does not run, with owners, modes, times and
// links. It needs nothing in the VM's image, and one boot of a builder VM.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. Any thread may call this, and several at
// once. No handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, `TRANSIENT_STATUS_VM_IN_USE`, `TRANSIENT_STATUS_NO_ROOT_FILESYSTEM`,
// `TRANSIENT_STATUS_INVALID_SOURCE` when something to copy is not there, and what else can go wrong with a builder VM.
transient_status transient_copy(const transient_store *store,
                                const char *name,
                                const transient_copy_options *options,
                                transient_event_callback on_event,
                                void *user_data,
                                transient_finalizer finalizer,
                                const transient_cancel_token *cancel,
                                transient_error **error_out);

// Sets the proxy for http, for example `http://proxy:3128` or `socks5h://user:password@proxy`; NULL is none. `url`
// is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_http_proxy(transient_locations *locations,
                                                    const char *url,
                                                    transient_error **error_out);

// Sets the proxy for https; NULL is none. `url` is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_https_proxy(transient_locations *locations,
                                                     const char *url,
                                                     transient_error **error_out);

// Sets what is reached without a proxy, separated by commas: names, with all that is below them, addresses, networks
// (`10.0.0.0/8`), or `*`; NULL is nothing. `hosts` is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_no_proxy(transient_locations *locations,
                                                  const char *hosts,
                                                  transient_error **error_out);

// Adds a file in PEM format, or a folder of them, with certificate authorities to trust; the first takes the place
// of the system's. `path` is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_add_certificates(transient_locations *locations,
                                                      const char *path,
                                                      transient_error **error_out);

// Sets the server that knows the vagrant boxes; the default is that of Vagrant itself. `url` is copied. No other
// thread may use `locations` meanwhile.
transient_status transient_locations_set_vagrant_server(transient_locations *locations,
                                                        const char *url,
                                                        transient_error **error_out);

// Sets what that server, and no other, is shown for boxes that are not public; NULL is nothing. `token` is copied.
// No other thread may use `locations` meanwhile.
transient_status transient_locations_set_vagrant_token(transient_locations *locations,
                                                       const char *token,
                                                       transient_error **error_out);

// Frees an error and all strings that came from it. NULL is ignored.
void transient_error_free(transient_error *error);

// Returns the status that the call returned. NULL gives 0.
uint32_t transient_error_status(const transient_error *error);

// Returns what went wrong, in one line. Lives as long as the error.
const char *transient_error_message(const transient_error *error);

// Returns all that a person needs to see, over several lines: message, causes, the marked lines of an Imagefile,
// the end of a command's output, hints. Lives as long as the error.
const char *transient_error_report(const transient_error *error);

// Returns the report with the colours of a terminal. Lives as long as the error.
const char *transient_error_report_colored(const transient_error *error);

// Returns how many causes there are.
size_t transient_error_causes_len(const transient_error *error);

// Returns a cause, the nearest first; NULL behind the last. Lives as long as the error.
const char *transient_error_cause(const transient_error *error, size_t index);

// Returns how many hints there are.
size_t transient_error_hints_len(const transient_error *error);

// Returns something that can be done about it; NULL behind the last. Lives as long as the error.
const char *transient_error_hint(const transient_error *error, size_t index);

// Returns the Imagefile that it is about, or NULL. Lives as long as the error.
const char *transient_error_file(const transient_error *error);

// Returns the line of the Imagefile, counted from 1; 0 when it is about none.
size_t transient_error_line(const transient_error *error);

// Returns the column in characters, counted from 1; 0 when it is about none.
size_t transient_error_column(const transient_error *error);

// Returns the instruction that failed, or NULL. Lives as long as the error.
const char *transient_error_step(const transient_error *error);

// Returns whether a command of the image failed, and if so writes its exit status (128 + n for signal n).
// `status_out` may be NULL.
bool transient_error_exit_status(const transient_error *error, uint32_t *status_out);

// Returns the end of what the failed command or program printed, and writes its length in bytes, which does not
// count the NUL behind it. `length_out` may be NULL. Lives as long as the error.
const char *transient_error_output(const transient_error *error,
                                   size_t *length_out);

// Returns how many VMs have a disk on the image.
size_t transient_error_vms_len(const transient_error *error);

// Returns the name of a VM that has a disk on the image; NULL behind the last. Lives as long as the error.
const char *transient_error_vm(const transient_error *error, size_t index);

// Returns how many errors the Imagefile has.
size_t transient_error_diagnostics_len(const transient_error *error);

// Returns an error of the Imagefile, in the order of their places; NULL behind the last. Lives as long as the
// error.
const transient_diagnostic *transient_error_diagnostic(const transient_error *error, size_t index);

// Gives an image another name, by which it can be used and removed on its own. Both are one read-only file, which
// takes no more space; where that cannot be, the new image is a copy. With `replace`, an image that has the name
// goes. A name that another process is at work on is waited for.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_pull`. `image_out` may be NULL; else on
// success the caller owns `*image_out`: `transient_image_free`. Any thread may call this, and several at once.
//
// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, `TRANSIENT_STATUS_IMAGE_EXISTS` without `replace`, and
// `TRANSIENT_STATUS_IMAGE_IN_USE` when a VM has a disk on what would be replaced.
transient_status transient_tag(const transient_store *store,
                               const char *source,
                               const char *name,
                               bool replace,
                               transient_event_callback on_event,
                               void *user_data,
                               transient_finalizer finalizer,
                               const transient_cancel_token *cancel,
                               transient_image **image_out,
                               transient_error **error_out);

// Makes a file of the host an image of the backend. `path` is an image in any format that `qemu-img` reads, as it is
// or compressed with gzip, bzip2, xz or zstd; or a pipe, such as `/dev/stdin`. `name` may be NULL: the image is then
// named as the file, without its extensions. `sha256` may be NULL; else it is what `sha256sum` prints for the file,
// and another file is refused. With `replace`, an image that has the name goes.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_pull`. `image_out` may be NULL; else on
// success the caller owns `*image_out`: `transient_image_free`. Any thread may call this, and several at once.
//
// Fails with `TRANSIENT_STATUS_IMAGE_EXISTS` without `replace`, `TRANSIENT_STATUS_IMAGE_IN_USE` when a VM has a disk
// on what would be replaced, `TRANSIENT_STATUS_SOURCE_FAILED`, `TRANSIENT_STATUS_INVALID_IMAGE`, and what else can
// go wrong on the host.
transient_status transient_import(const transient_store *store,
                                  const char *path,
                                  const char *name,
                                  const char *sha256,
                                  bool replace,
                                  transient_event_callback on_event,
                                  void *user_data,
                                  transient_finalizer finalizer,
                                  const transient_cancel_token *cancel,
                                  transient_image **image_out,
                                  transient_error **error_out);

// Writes an image to a file of the host, which is there when it is whole, and not before. `format` is a
// `transient_export_format`. A `path` that ends in `.gz`, `.xz` or `.zst` has the file compressed as a whole;
// `compress` uses the compression of the format itself, which qcow2 and VMDK have. With `replace`, a file that is
// there goes.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_pull`. Any thread may call this, and several
// at once.
//
// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, `TRANSIENT_STATUS_FILE_EXISTS` without `replace`,
// `TRANSIENT_STATUS_INVALID_ARGUMENT` when no such file can be made, and what else can go wrong on the host.
transient_status transient_export(const transient_store *store,
                                  const char *name,
                                  const char *path,
                                  uint32_t format,
                                  bool compress,
                                  bool replace,
                                  transient_event_callback on_event,
                                  void *user_data,
                                  transient_finalizer finalizer,
                                  const transient_cancel_token *cancel,
                                  transient_error **error_out);

// Returns the name. Lives as long as the image.
const char *transient_image_name(const transient_image *image);

// Returns the path of the qcow2 file. Lives as long as the image.
const char *transient_image_path(const transient_image *image);

// Returns the size of the disk that a VM sees, in bytes.
uint64_t transient_image_virtual_size(const transient_image *image);

// Returns what the file occupies on the host's disk, in bytes.
uint64_t transient_image_real_size(const transient_image *image);

// Frees an image that a function handed over, not one that is in a list. NULL is ignored. The file stays.
void transient_image_free(transient_image *image);

// Returns how many images there are.
size_t transient_image_list_len(const transient_image_list *list);

// Returns an image, in the order of their names or in that in which they were asked for; NULL behind the last. The
// list owns it.
const transient_image *transient_image_list_get(const transient_image_list *list,
                                                size_t index);

// Returns how many files look like images and are none.
size_t transient_image_list_warnings_len(const transient_image_list *list);

// Returns one sentence about a file that looks like an image and is none; NULL behind the last. Lives as long as
// the list.
const char *transient_image_list_warning(const transient_image_list *list,
                                         size_t index);

// Frees a list with its images. NULL is ignored.
void transient_image_list_free(transient_image_list *list);

// Writes the name of the file that an image of this name has in a backend. The caller owns `*encoded_out`:
// `transient_string_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
transient_status transient_image_name_encode(const char *name,
                                             char **encoded_out,
                                             transient_error **error_out);

// Writes the name of the image that a backend keeps in a file of this name. The caller owns `*name_out`:
// `transient_string_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME` when such a file is no image.
transient_status transient_image_name_decode(const char *encoded,
                                             char **name_out,
                                             transient_error **error_out);

// Takes an image spec apart. The caller owns `*spec_out`: `transient_image_spec_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
transient_status transient_image_spec_parse(const char *text,
                                            transient_image_spec **spec_out,
                                            transient_error **error_out);

// Returns the image's name in the backend. Lives as long as the spec.
const char *transient_image_spec_name(const transient_image_spec *spec);

// Returns `file`, `http` or `vagrant`; NULL when the spec has no source. Lives as long as the spec.
const char *transient_image_spec_protocol(const transient_image_spec *spec);

// Returns where the image comes from; NULL when the spec has no source. Lives as long as the spec.
const char *transient_image_spec_source(const transient_image_spec *spec);

// Returns what the bytes of the source must add up to, for example `sha256=` and 64 hexadecimal digits; NULL when
// the spec does not say. Lives as long as the spec.
const char *transient_image_spec_checksum(const transient_image_spec *spec);

// Frees a spec. NULL is ignored.
void transient_image_spec_free(transient_image_spec *spec);

// Reads a size: plain bytes, or a whole number with a unit, all of them binary (`512M`, `2 GB`, `2GiB`).
// Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT`.
transient_status transient_parse_bytes(const char *text, uint64_t *bytes_out, transient_error **error_out);

// Returns a size for people, in binary units with two decimals, for example `40.00 GiB`. The caller owns the
// string: `transient_string_free`. Any thread may call this.
char *transient_format_bytes(uint64_t bytes);

// Reads, parses and checks a file. The caller owns `*imagefile_out`: `transient_imagefile_free`. Any thread may
// call this.
//
// Fails as `transient_imagefile_parse`; with `TRANSIENT_STATUS_INVALID_ARGUMENT` when there is no such file.
transient_status transient_imagefile_load(const char *path,
                                          transient_imagefile **imagefile_out,
                                          transient_error **error_out);

// Parses and checks a text of `len` bytes, which need not be UTF-8 for a good error. `path` is only for messages;
// NULL is `Imagefile`. The caller owns `*imagefile_out`: `transient_imagefile_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGEFILE`, with every error of the text:
// `transient_error_diagnostic`.
transient_status transient_imagefile_parse(const char *path,
                                           const uint8_t *text,
                                           size_t len,
                                           transient_imagefile **imagefile_out,
                                           transient_error **error_out);

// Returns the path that it was parsed under. Lives as long as the Imagefile.
const char *transient_imagefile_path(const transient_imagefile *imagefile);

// Returns the text, without a byte-order mark. Lives as long as the Imagefile.
const char *transient_imagefile_text(const transient_imagefile *imagefile);

// Returns how many instructions there are.
size_t transient_imagefile_instructions_len(const transient_imagefile *imagefile);

// Returns an instruction, in the order of the file; NULL behind the last. It, and all that it points to, lives as
// long as the Imagefile.
const transient_instruction *transient_imagefile_instruction(const transient_imagefile *imagefile,
                                                             size_t index);

// Frees an Imagefile. NULL is ignored. Its plan stays.
void transient_imagefile_free(transient_imagefile *imagefile);

// Reads all that is known of one image, also how it was made. The caller owns `*inspection_out`:
// `transient_inspection_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, and with `TRANSIENT_STATUS_INVALID_IMAGE` when the file is no
// standalone qcow2 image.
transient_status transient_store_inspect(const transient_store *store,
                                         const char *name,
                                         transient_inspection **inspection_out,
                                         transient_error **error_out);

// Returns the image. The inspection owns it.
const transient_image *transient_inspection_image(const transient_inspection *inspection);

// Returns what the image's file says of itself. It, and all that it points to, lives as long as the inspection.
const transient_image_details *transient_inspection_details(const transient_inspection *inspection);

// Returns how the image was made; NULL when that is not known, as of what release 0.25 made. It, and all that it
// points to, lives as long as the inspection.
const transient_provenance *transient_inspection_provenance(const transient_inspection *inspection);

// Returns how many steps are known that made the image and its parents.
size_t transient_inspection_steps_len(const transient_inspection *inspection);

// Returns a step, the newest one at 0; NULL behind the oldest. It, and all that it points to, lives as long as the
// inspection.
const transient_history_step *transient_inspection_step(const transient_inspection *inspection,
                                                        size_t index);

// Returns how many VMs have a disk on the image.
size_t transient_inspection_vms_len(const transient_inspection *inspection);

// Returns the name of a VM that has a disk on the image; NULL behind the last. Lives as long as the inspection.
const char *transient_inspection_vm(const transient_inspection *inspection,
                                    size_t index);

// Returns how many sentences there are about a record of the image's making that cannot be used.
size_t transient_inspection_warnings_len(const transient_inspection *inspection);

// Returns a sentence about a record of the image's making that cannot be used; NULL behind the last. Lives as long
// as the inspection.
const char *transient_inspection_warning(const transient_inspection *inspection,
                                         size_t index);

// Frees an inspection. NULL is ignored. The image stays.
void transient_inspection_free(transient_inspection *inspection);

// Lists the layers of the store's cache: what steps of builds did, which the next build need not do again. The one
// that was used last is at the end. The caller owns `*list_out`: `transient_layer_list_free`. Any thread may call this.
transient_status transient_store_layers(const transient_store *store,
                                        transient_layer_list **list_out,
                                        transient_error **error_out);

// Returns how many there are.
size_t transient_layer_list_len(const transient_layer_list *list);

// Returns one; NULL if there are not so many. Lives as long as `list`.
const transient_cached_layer *transient_layer_list_get(const transient_layer_list *list, size_t index);

// Frees what `transient_store_layers` gave. NULL is ignored.
void transient_layer_list_free(transient_layer_list *list);

// Removes the layers that were not used for the longest time, until those that are left occupy no more than `limit`
// bytes; none that a build uses. `freed_out` may be NULL; else it gets how many bytes that freed. Any thread may call
// this.
transient_status transient_store_prune_layers(const transient_store *store,
                                              uint64_t limit,
                                              uint64_t *freed_out,
                                              transient_error **error_out);

// Removes layers, and all that stands on them. `keys` has `keys_len` strings; a key may be cut short as long as it is
// that of one layer alone. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when there is no such layer, or several, or a build uses one.
transient_status transient_store_remove_layers(const transient_store *store,
                                               const char *const *keys,
                                               size_t keys_len,
                                               transient_error **error_out);

// Reads the locations from the environment: `TRANSIENT_BACKEND`, `TRANSIENT_VMSTORE`, `TRANSIENT_CACHE`,
// `TRANSIENT_APPLIANCE`, `XDG_DATA_HOME`, `XDG_CACHE_HOME`, `HOME`; for VMs that run `XDG_RUNTIME_DIR`, else
// `TMPDIR`; for what they write and do not keep `TMPDIR`, else `/var/tmp`; for SSH `SSH_AUTH_SOCK`. An appliance is
// also looked for in `transient/appliance` beside this library. How images are downloaded is read from `http_proxy`,
// `https_proxy`, `all_proxy`, `no_proxy`, `SSL_CERT_FILE`, `SSL_CERT_DIR`, `VAGRANT_SERVER_URL`,
// `VAGRANT_CLOUD_TOKEN` and `ATLAS_TOKEN`.
//
// The caller owns `*locations_out`: `transient_locations_free`. No other thread may change the environment
// meanwhile.
//
// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when a location is not named and there is no `HOME` either.
transient_status transient_locations_from_env(transient_locations **locations_out,
                                              transient_error **error_out);

// Makes locations with everything below one folder: `backend`, `vmstore`, `cache`, `running` and `temporary`. Reads no
// environment, and knows neither an SSH agent nor SSH keys. An appliance is looked for in `transient/appliance` beside
// this library.
//
// The caller owns `*locations_out`: `transient_locations_free`. Any thread may call this.
transient_status transient_locations_below(const char *folder,
                                           transient_locations **locations_out,
                                           transient_error **error_out);

// Frees locations. NULL is ignored.
void transient_locations_free(transient_locations *locations);

// Sets the folder of the images. `path` is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_backend(transient_locations *locations,
                                                 const char *path,
                                                 transient_error **error_out);

// Sets the folder of the VMs. `path` is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_vmstore(transient_locations *locations,
                                                 const char *path,
                                                 transient_error **error_out);

// Sets the folder of what may be thrown away. `path` is copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_cache(transient_locations *locations,
                                               const char *path,
                                               transient_error **error_out);

// Sets the appliance that must be used; no other is looked for then. `path` is copied. No other thread may use
// `locations` meanwhile.
transient_status transient_locations_set_appliance(transient_locations *locations,
                                                   const char *path,
                                                   transient_error **error_out);

// Adds a folder that may hold an appliance, behind those that are there: the first that does is used. `path` is
// copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_add_appliance(transient_locations *locations,
                                                   const char *path,
                                                   transient_error **error_out);

// Sets the folder of the VMs that run. It belongs to this user alone, and is made where it is not there. `path` is
// copied. No other thread may use `locations` meanwhile.
transient_status transient_locations_set_running(transient_locations *locations,
                                                 const char *path,
                                                 transient_error **error_out);

// Sets the folder in which VMs that keep nothing have what they write meanwhile. `path` is copied. No other thread may
// use `locations` meanwhile.
transient_status transient_locations_set_temporary(transient_locations *locations,
                                                   const char *path,
                                                   transient_error **error_out);

// Sets the socket of the user's SSH agent; NULL is none. `path` is copied. No other thread may use `locations`
// meanwhile.
transient_status transient_locations_set_ssh_agent(transient_locations *locations,
                                                   const char *path,
                                                   transient_error **error_out);

// Sets the folder of the user's SSH keys; NULL is none. `path` is copied. No other thread may use `locations`
// meanwhile.
transient_status transient_locations_set_ssh_keys(transient_locations *locations,
                                                  const char *path,
                                                  transient_error **error_out);

// Sends the library's log records to a callback; without one, they go nowhere.
//
// `max_level` is the least important `transient_log_level` that is told of. A callback that was set before is
// never called again once this function has returned, and its finalizer was called. `callback` NULL ends
// logging. The callback must not call this function, and must not unwind. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when `max_level` is none, or when the program has a `tracing`
// subscriber of its own, which then gets the records. `finalizer`, which may be NULL, is called also then.
transient_status transient_log_set(transient_log_callback callback,
                                   uint32_t max_level,
                                   void *user_data,
                                   transient_finalizer finalizer,
                                   transient_error **error_out);

// Makes the plan of an Imagefile, of which it keeps nothing. The caller owns `*plan_out`: `transient_plan_free`.
// Any thread may call this.
transient_status transient_plan_new(const transient_imagefile *imagefile,
                                    transient_plan **plan_out,
                                    transient_error **error_out);

// Returns how many steps the build has: one for each instruction, in their order.
size_t transient_plan_steps_len(const transient_plan *plan);

// Returns the size of the new disk in bytes; 0 when the build starts from an image.
uint64_t transient_plan_disk_size(const transient_plan *plan);

// Returns how many partitions the new disk has.
size_t transient_plan_partitions_len(const transient_plan *plan);

// Returns a partition, in the order of the Imagefile; NULL behind the last. Lives as long as the plan.
const transient_placed_partition *transient_plan_partition(const transient_plan *plan, size_t index);

// Returns how many partitions are mounted.
size_t transient_plan_mounts_len(const transient_plan *plan);

// Returns a mount, `/` before what lies in it; NULL behind the last. Lives as long as the plan.
const transient_mount *transient_plan_mount(const transient_plan *plan, size_t index);

// Frees a plan. NULL is ignored.
void transient_plan_free(transient_plan *plan);

// Removes abandoned work, of processes that were killed; with `all` also images that no VM has a disk on, if
// `older_than` is not 0 only those that were made more seconds ago. With `dry_run`, nothing is removed. Never waits:
// what somebody is at work on is needed. The caller owns `*pruned_out`: `transient_pruned_free`. Any thread may call
// this.
//
// Fails with `TRANSIENT_STATUS_IO` when the backend or the VM store cannot be read, or an image cannot be removed.
transient_status transient_store_prune(const transient_store *store,
                                       bool all,
                                       double older_than,
                                       bool dry_run,
                                       transient_pruned **pruned_out,
                                       transient_error **error_out);

// Returns the images. Lives as long as `pruned`.
const transient_image_list *transient_pruned_images(const transient_pruned *pruned);

// Returns the paths of files and folders of work that was abandoned. Lives as long as `pruned`.
const transient_name_list *transient_pruned_leftovers(const transient_pruned *pruned);

// Returns a sentence for each file that looks like an image and is none, or that could not be removed. Lives as long
// as `pruned`.
const transient_name_list *transient_pruned_warnings(const transient_pruned *pruned);

// Returns how many bytes of the host's disk are free now that were not. An image that has another name still frees
// none.
uint64_t transient_pruned_freed(const transient_pruned *pruned);

// Frees what `transient_store_prune` gave, with its lists. NULL is ignored.
void transient_pruned_free(transient_pruned *pruned);

// Brings images into the backend, those that it lacks, one after the other, and returns when others can see them.
// `specs` has `specs_len` image specs, as they follow `FROM` in an Imagefile. Where one fails, those before it stay.
//
// `on_event` may be NULL; else it is called on the calling thread, with `user_data`, for each event, and never
// again once this function has returned. It must not unwind. `finalizer` may be NULL; else it is called once
// with `user_data` on the calling thread before this function returns, whatever the outcome.
//
// `cancel` may be NULL. Any thread may cancel; the call then cleans up and fails with
// `TRANSIENT_STATUS_CANCELLED`.
//
// `list_out` may be NULL; else on success the caller owns `*list_out`, which has the images in the order of the
// specs: `transient_image_list_free`.
//
// Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`, `TRANSIENT_STATUS_IMAGE_NOT_FOUND`,
// `TRANSIENT_STATUS_SOURCE_FAILED`, `TRANSIENT_STATUS_INVALID_IMAGE`, and what else can go wrong on the host.
transient_status transient_pull(const transient_store *store,
                                const char *const *specs,
                                size_t specs_len,
                                transient_event_callback on_event,
                                void *user_data,
                                transient_finalizer finalizer,
                                const transient_cancel_token *cancel,
                                transient_image_list **list_out,
                                transient_error **error_out);

// Makes options that run a VM with these settings, which are copied. The caller owns `*options_out`:
// `transient_run_options_free`. Any thread may call this.
transient_status transient_run_options_new(const transient_vm_config *config,
                                           transient_run_options **options_out,
                                           transient_error **error_out);

// Frees options, once no call uses them. NULL is ignored.
void transient_run_options_free(transient_run_options *options);

// Sets the settings of the VM, in place of those before. `config` is copied.
transient_status transient_run_options_set_config(transient_run_options *options,
                                                  const transient_vm_config *config,
                                                  transient_error **error_out);

// Adds a copy into the VM's first disk, before it starts. `source` is a file, folder or link of this host.
// `destination`, an absolute path of the guest, is a folder below which it goes, or else its new name. Both are
// copied.
transient_status transient_run_options_add_copy_in_before(transient_run_options *options,
                                                          const char *source,
                                                          const char *destination,
                                                          transient_error **error_out);

// Adds a copy out of the VM's first disk, which `transient_vm_stop` makes. `source` is an absolute path of the guest.
// `destination`, a path of this host, is a folder below which it goes, or else its new name. Both are copied.
transient_status transient_run_options_add_copy_out_after(transient_run_options *options,
                                                          const char *source,
                                                          const char *destination,
                                                          transient_error **error_out);

// Sets how many seconds all copies before it starts, or all after it, may take; 0 is as long as they like, the
// default.
transient_status transient_run_options_set_copy_timeout(transient_run_options *options,
                                                        double seconds,
                                                        transient_error **error_out);

// Sets the VM in which the copies are made. `builder` is copied.
transient_status transient_run_options_set_builder(transient_run_options *options,
                                                   const transient_builder_options *builder,
                                                   transient_error **error_out);

// Sets whether QEMU has this process's standard input and output if its arguments have a serial port of their own: for
// a program that is nothing else. The default is false.
transient_status transient_run_options_set_inherit_stdio(transient_run_options *options,
                                                         bool inherit,
                                                         transient_error **error_out);

// Starts a VM from an image, which is brought in if the backend lacks it. Without a name and without copies, it keeps
// nothing on disk; without a name, what it keeps is gone at its end. With a name, it is made in the VM store, or if it
// is there, it is started. Returns when QEMU runs, and the guest has mounted the shared folders, if there are any.
//
// The caller owns `*vm_out`: `transient_vm_free`. It uses none of the handles that were given here.
//
// `on_event` may be NULL; else it is called on the calling thread, with `user_data`, for each event, and never again
// once this function has returned. It must not unwind. `finalizer` may be NULL; else it is called once with `user_data`
// on the calling thread before this function returns, whatever the outcome.
//
// `cancel` may be NULL. Any thread may cancel; the call then cleans up and fails with `TRANSIENT_STATUS_CANCELLED`. It
// has no effect on the VM once this has returned.
//
// Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, `TRANSIENT_STATUS_VM_IN_USE`, `TRANSIENT_STATUS_MISSING_PROGRAM`,
// `TRANSIENT_STATUS_QEMU_FAILED` with what QEMU said in `transient_error_output`, and as `transient_pull`,
// `transient_copy` and `transient_vm_ssh`.
transient_status transient_vm_run(const transient_store *store,
                                  const transient_run_options *options,
                                  transient_event_callback on_event,
                                  void *user_data,
                                  transient_finalizer finalizer,
                                  const transient_cancel_token *cancel,
                                  transient_vm **vm_out,
                                  transient_error **error_out);

// Starts a VM of the VM store. The settings of `options` are added to those that are kept there, and win over them.
//
// All else is as of `transient_vm_run`. Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, and as `transient_vm_run`.
transient_status transient_vm_start(const transient_store *store,
                                    const char *name,
                                    const transient_run_options *options,
                                    transient_event_callback on_event,
                                    void *user_data,
                                    transient_finalizer finalizer,
                                    const transient_cancel_token *cancel,
                                    transient_vm **vm_out,
                                    transient_error **error_out);

// Makes a VM in the VM store, and does not start it. `name_out` may be NULL; else on success the caller owns
// `*name_out`, its name: `transient_string_free`.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. Any thread may call this, and several at
// once. No handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_VM_EXISTS`, `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, and as `transient_pull`.
transient_status transient_vm_create(const transient_store *store,
                                     const transient_vm_config *config,
                                     transient_event_callback on_event,
                                     void *user_data,
                                     transient_finalizer finalizer,
                                     const transient_cancel_token *cancel,
                                     char **name_out,
                                     transient_error **error_out);

// Makes options with all defaults. The caller owns `*options_out`: `transient_ssh_options_free`. Any thread may call
// this. Those of a VM of the VM store are in `transient_vm_config_ssh_options`.
transient_status transient_ssh_options_new(transient_ssh_options **options_out,
                                           transient_error **error_out);

// Frees options. NULL is ignored.
void transient_ssh_options_free(transient_ssh_options *options);

// Sets who logs in. The default is `vagrant`. `user` is copied.
transient_status transient_ssh_options_set_user(transient_ssh_options *options,
                                                const char *user,
                                                transient_error **error_out);

// Sets the private key to log in with. NULL, the default: the user's agent and default keys, then the well-known key
// of vagrant boxes. `path` is copied.
transient_status transient_ssh_options_set_key(transient_ssh_options *options,
                                               const char *path,
                                               transient_error **error_out);

// Sets the SSH program that is used in place of the library's own client; NULL is none, the default. `program` is
// copied.
transient_status transient_ssh_options_set_program(transient_ssh_options *options,
                                                   const char *program,
                                                   transient_error **error_out);

// Adds an option for `-o` of OpenSSH, which is then used in place of the library's own client. `option` is copied.
transient_status transient_ssh_options_add_option(transient_ssh_options *options,
                                                  const char *option,
                                                  transient_error **error_out);

// Sets how many seconds the guest may take to accept it; 0 is the default, 90.
transient_status transient_ssh_options_set_timeout(transient_ssh_options *options,
                                                   double seconds,
                                                   transient_error **error_out);

// Runs a command in the guest by SSH, and waits for its end; for a guest that is still booting, too. `command` is as the
// guest's shell takes it; NULL is a shell, which reads its commands from the input. It reads the `input_len` bytes of
// `input`, which are copied; that may be NULL if there are none. `timeout` is how many seconds it may take, from when
// the guest has accepted SSH; 0 is as long as it likes.
//
// What it writes is told as `TRANSIENT_EVENT_KIND_OUTPUT`. `exit_status_out` may be NULL; else on success it gets the
// exit status, 128 + n if signal n ended the command. Another status than 0 is no error.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`; a cancelled command may go on in the
// guest. Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_TIMEOUT` when the guest does not accept SSH in time or the command takes too long,
// `TRANSIENT_STATUS_SSH_FAILED` when it lets nobody in; `TRANSIENT_STATUS_GUEST_PANIC`, `TRANSIENT_STATUS_QEMU_FAILED` or
// `TRANSIENT_STATUS_CONNECTION_LOST` when it ends meanwhile; and `TRANSIENT_STATUS_VM_NOT_RUNNING` when it has ended, or
// has no SSH.
transient_status transient_vm_ssh(const transient_vm *vm,
                                  const char *command,
                                  const uint8_t *input,
                                  size_t input_len,
                                  double timeout,
                                  transient_event_callback on_event,
                                  void *user_data,
                                  transient_finalizer finalizer,
                                  const transient_cancel_token *cancel,
                                  uint32_t *exit_status_out,
                                  transient_error **error_out);

// Gives a terminal a shell in the guest by SSH, or `command` if that is not NULL, and waits for its end. Keys are read
// from `input`, which is set to raw mode meanwhile, and what it shows goes to `output`; both are duplicated. `term` is
// the value of `TERM`, for example `xterm-256color`.
//
// Unless both are terminals, the shell gets none: `input` is what it reads, and what it writes is told as
// `TRANSIENT_EVENT_KIND_OUTPUT`. So a command has a file or a pipe for input.
//
// All else is as of `transient_vm_ssh`.
transient_status transient_vm_ssh_terminal(const transient_vm *vm,
                                           const char *command,
                                           int input,
                                           int output,
                                           const char *term,
                                           transient_event_callback on_event,
                                           void *user_data,
                                           transient_finalizer finalizer,
                                           const transient_cancel_token *cancel,
                                           uint32_t *exit_status_out,
                                           transient_error **error_out);

// Runs a command by SSH in a VM that runs, also one of another process, and waits for its end. `options` may be NULL:
// all defaults. With `wait`, a VM that does not run yet is waited for, at most as long as the guest may take to accept
// SSH.
//
// All else is as of `transient_vm_ssh`. Fails with `TRANSIENT_STATUS_VM_NOT_RUNNING`, and as that.
transient_status transient_ssh(const transient_store *store,
                               const char *name,
                               const transient_ssh_options *options,
                               const char *command,
                               const uint8_t *input,
                               size_t input_len,
                               double timeout,
                               bool wait,
                               transient_event_callback on_event,
                               void *user_data,
                               transient_finalizer finalizer,
                               const transient_cancel_token *cancel,
                               uint32_t *exit_status_out,
                               transient_error **error_out);

// Gives a terminal a shell by SSH in a VM that runs, also one of another process, or `command` if that is not NULL, and
// waits for its end. `input`, `output` and `term` are as of `transient_vm_ssh_terminal`, all else is as of
// `transient_ssh`.
transient_status transient_ssh_terminal(const transient_store *store,
                                        const char *name,
                                        const transient_ssh_options *options,
                                        const char *command,
                                        int input,
                                        int output,
                                        const char *term,
                                        bool wait,
                                        transient_event_callback on_event,
                                        void *user_data,
                                        transient_finalizer finalizer,
                                        const transient_cancel_token *cancel,
                                        uint32_t *exit_status_out,
                                        transient_error **error_out);

// Returns the stable name of a status, for example `image-in-use`; `ok` for 0, NULL for a number that is none.
//
// The string lives as long as the program. Any thread may call this.
const char *transient_status_name(uint32_t status);

// Makes a store. `locations` is copied; NULL is what `transient_locations_from_env` gives. Nothing is read or
// made on disk yet. The caller owns `*store_out`: `transient_store_free`.
//
// Fails as `transient_locations_from_env`.
transient_status transient_store_new(const transient_locations *locations,
                                     transient_store **store_out,
                                     transient_error **error_out);

// Frees a store, once no call uses it. NULL is ignored. What is on disk stays.
void transient_store_free(transient_store *store);

// Returns the folder of the images. Lives as long as the store.
const char *transient_store_backend(const transient_store *store);

// Returns the folder of the VMs. Lives as long as the store.
const char *transient_store_vmstore(const transient_store *store);

// Returns the folder of what may be thrown away. Lives as long as the store.
const char *transient_store_cache(const transient_store *store);

// Lists the images; a backend that does not exist has none. The caller owns `*list_out`:
// `transient_image_list_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_IO` when the backend cannot be read.
transient_status transient_store_images(const transient_store *store,
                                        transient_image_list **list_out,
                                        transient_error **error_out);

// Reads one image. The caller owns `*image_out`: `transient_image_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND` when the backend has none of that name, and with
// `TRANSIENT_STATUS_INVALID_IMAGE` when the file is no standalone qcow2 image.
transient_status transient_store_image(const transient_store *store,
                                       const char *name,
                                       transient_image **image_out,
                                       transient_error **error_out);

// Lists the VMs that have a disk on an image, which need not exist. The caller owns `*names_out`:
// `transient_name_list_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_IO` when the VM store cannot be read.
transient_status transient_store_vms_using(const transient_store *store,
                                           const char *name,
                                           transient_name_list **names_out,
                                           transient_error **error_out);

// Removes images, all or none. `names` has `names_len` strings. With `force` also images that VMs use.
//
// On success `*warnings_out` has a sentence for each image that was removed though VMs use it; the caller owns
// it: `transient_name_list_free`. `warnings_out` may be NULL. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, or with `TRANSIENT_STATUS_IMAGE_IN_USE` without `force`.
transient_status transient_store_remove(const transient_store *store,
                                        const char *const *names,
                                        size_t names_len,
                                        bool force,
                                        transient_name_list **warnings_out,
                                        transient_error **error_out);

// Returns how many there are.
size_t transient_name_list_len(const transient_name_list *list);

// Returns one; NULL behind the last. Lives as long as the list.
const char *transient_name_list_get(const transient_name_list *list, size_t index);

// Frees a list. NULL is ignored.
void transient_name_list_free(transient_name_list *list);

// Frees a string that a function handed over. NULL is ignored. Any thread may do it.
void transient_string_free(char *text);

// Returns the ABI of the library that is loaded; it is `TRANSIENT_ABI_VERSION` of the header that fits it.
uint32_t transient_abi_version(void);

// Returns the release of the library that is loaded, for example `1.0.0`. The string lives as long as the
// program.
const char *transient_version(void);

// Returns whether the library has a feature: `appliance`, `build`, `cache`, `check`, `exchange`, `history`, `imagefile`,
// `inspect`, `log`, `plan`, `prune`, `pull`, `store` or `vm` in this release. Any other name, also none, gives false.
bool transient_has_feature(const char *name);

// Returns the name. Lives as long as the handle.
const char *transient_vm_name(const transient_vm *vm);

// Returns the name of the image that it started from. Lives as long as the handle.
const char *transient_vm_image(const transient_vm *vm);

// Returns the number of the QEMU process.
uint32_t transient_vm_qemu_pid(const transient_vm *vm);

// Returns the port of this host's loopback that leads to the guest's port 22; 0 when it is not reached by SSH.
uint16_t transient_vm_ssh_port(const transient_vm *vm);

// Returns whether QEMU runs.
bool transient_vm_is_running(const transient_vm *vm);

// Writes what came over the serial console, the last 4 MiB of it, also once the VM has ended. The caller owns
// `*bytes_out`: `transient_bytes_free`. Any thread may call this.
transient_status transient_vm_serial(const transient_vm *vm,
                                     transient_bytes **bytes_out,
                                     transient_error **error_out);

// Joins a terminal, or what else `input` and `output` are, to the serial console until the VM ends. Ctrl-A x ends QEMU,
// Ctrl-A c leads to its prompt. Both descriptors are duplicated; a terminal at `input` is set to raw mode meanwhile.
//
// `cancel` may be NULL. Any thread may call this. No handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_QEMU_FAILED` when QEMU ends with an error, and with `TRANSIENT_STATUS_IO` when the
// terminal cannot be used.
transient_status transient_vm_console(const transient_vm *vm,
                                      int input,
                                      int output,
                                      const transient_cancel_token *cancel,
                                      transient_error **error_out);

// Has QEMU carry out a QMP command, a JSON object such as `{"execute": "query-status"}`, and writes what it returns, as
// JSON: <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>. `answer_out` may be NULL; else on success the
// caller owns `*answer_out`: `transient_string_free`. Any thread may call this, and several at once.
//
// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when the command is no JSON, `TRANSIENT_STATUS_QEMU_FAILED` with QEMU's
// words when it refuses, and `TRANSIENT_STATUS_VM_NOT_RUNNING`.
transient_status transient_vm_qmp(const transient_vm *vm,
                                  const char *command,
                                  char **answer_out,
                                  transient_error **error_out);

// Copies a file or folder of this host into the running guest by SSH, with modes, times and links. It needs `tar` there.
// `destination` is a folder of the guest, below which it goes, or else its new name.
//
// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. Any thread may call this, and several at
// once. No handle that it was given may be freed meanwhile.
//
// Fails as `transient_vm_ssh`, and with `TRANSIENT_STATUS_COMMAND_FAILED` with what `tar` said.
transient_status transient_vm_copy_in(const transient_vm *vm,
                                      const char *source,
                                      const char *destination,
                                      transient_event_callback on_event,
                                      void *user_data,
                                      transient_finalizer finalizer,
                                      const transient_cancel_token *cancel,
                                      transient_error **error_out);

// Copies a file or folder out of the running guest by SSH, with modes, times and links. It needs `tar` there.
// `destination` is a folder of this host, below which it goes, or else its new name. All else is as of
// `transient_vm_copy_in`.
transient_status transient_vm_copy_out(const transient_vm *vm,
                                       const char *source,
                                       const char *destination,
                                       transient_event_callback on_event,
                                       void *user_data,
                                       transient_finalizer finalizer,
                                       const transient_cancel_token *cancel,
                                       transient_error **error_out);

// Waits until the VM has ended, or `timeout` seconds are over; 0 is as long as it takes. `ended_out` may be NULL; else on
// success it gets whether the VM has ended. `cancel` may be NULL. Any thread may call this, and several at once. No
// handle that it was given may be freed meanwhile.
//
// Fails with `TRANSIENT_STATUS_QEMU_FAILED` when QEMU ended with an error.
transient_status transient_vm_wait(const transient_vm *vm,
                                   double timeout,
                                   const transient_cancel_token *cancel,
                                   bool *ended_out,
                                   transient_error **error_out);

// Ends the VM, and waits for its end: the guest is asked to shut down, and QEMU ended if it does not in time; with
// `kill`, QEMU is killed. Then what `transient_run_options_add_copy_out_after` names is copied out, and a VM without a
// name is removed. A VM that has ended is no error. The handle is still to be freed.
//
// `on_event`, `user_data` and `finalizer` are as of `transient_vm_run`. `cancel` may be NULL; a cancelled one kills QEMU,
// and then nothing is copied. Any thread may call this, and several at once. No handle that it was given may be freed
// meanwhile.
//
// Fails as `transient_copy`.
transient_status transient_vm_stop(const transient_vm *vm,
                                   bool kill,
                                   transient_event_callback on_event,
                                   void *user_data,
                                   transient_finalizer finalizer,
                                   const transient_cancel_token *cancel,
                                   transient_error **error_out);

// Frees a VM, once no call uses it; any thread may do that. One that runs is first shut down as `transient_vm_stop` does,
// but nothing is copied out. NULL is ignored.
void transient_vm_free(transient_vm *vm);

// Makes settings with all defaults. `image` is what the VM starts from, an image spec, `NAME` or
// `NAME,PROTO=SOURCE`; it is copied. It may be NULL for `transient_vm_start`, for which a VM has its image already. The
// caller owns `*config_out`: `transient_vm_config_free`. Any thread may call this.
transient_status transient_vm_config_new(const char *image,
                                         transient_vm_config **config_out,
                                         transient_error **error_out);

// Reads the settings of a VM of the VM store. The caller owns `*config_out`: `transient_vm_config_free`. Any thread may
// call this.
//
// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, and as `transient_config_file_read`.
transient_status transient_store_vm_config(const transient_store *store,
                                           const char *name,
                                           transient_vm_config **config_out,
                                           transient_error **error_out);

// Frees settings. NULL is ignored.
void transient_vm_config_free(transient_vm_config *config);

// Adds the settings of `over` to those of `config`: what it sets wins, its lists are appended. `over` is copied.
transient_status transient_vm_config_merge(transient_vm_config *config,
                                           const transient_vm_config *over,
                                           transient_error **error_out);

// Returns whether a person or a command uses SSH. NULL gives false.
bool transient_vm_config_has_ssh_session(const transient_vm_config *config);

// Returns whether the guest is reached by SSH, be it only for its shared folders. NULL gives false.
bool transient_vm_config_has_ssh(const transient_vm_config *config);

// Returns what SSH runs in place of a shell, NULL when that is not set. The caller owns the string:
// `transient_string_free`.
char *transient_vm_config_ssh_command(const transient_vm_config *config);

// Makes the options of SSH that these settings have, for `transient_ssh`. The caller owns `*options_out`:
// `transient_ssh_options_free`. Any thread may call this.
transient_status transient_vm_config_ssh_options(const transient_vm_config *config,
                                                 transient_ssh_options **options_out,
                                                 transient_error **error_out);

// Sets what the VM starts from, an image spec. `image` is copied.
transient_status transient_vm_config_set_image(transient_vm_config *config,
                                               const char *image,
                                               transient_error **error_out);

// Sets the VM's name, by the rules for names of images; NULL is none: of such a VM nothing is kept. `name` is copied.
//
// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
transient_status transient_vm_config_set_name(transient_vm_config *config,
                                              const char *name,
                                              transient_error **error_out);

// Adds a disk: an image spec, which is copied.
transient_status transient_vm_config_add_extra_image(transient_vm_config *config,
                                                     const char *image,
                                                     transient_error **error_out);

// Sets whether the guest is reached by SSH: it then has a network card, and a port of this host's loopback leads to
// its port 22. The default is false.
transient_status transient_vm_config_set_ssh(transient_vm_config *config,
                                             bool ssh,
                                             transient_error **error_out);

// Sets what SSH runs in place of a shell when the VM is started by `transient start`; NULL is a shell. It implies
// `transient_vm_config_set_ssh`. `command` is copied. Nothing runs by itself: see `transient_vm_ssh`.
transient_status transient_vm_config_set_ssh_command(transient_vm_config *config,
                                                     const char *command,
                                                     transient_error **error_out);

// Sets whether `TRANSIENT_EVENT_KIND_SERIAL_OUTPUT` tells what the serial console shows until SSH is connected. It
// implies `transient_vm_config_set_ssh`. The default is false.
transient_status transient_vm_config_set_ssh_with_serial(transient_vm_config *config,
                                                         bool serial,
                                                         transient_error **error_out);

// Sets who logs in; NULL is `vagrant`, the default. `user` is copied.
transient_status transient_vm_config_set_ssh_user(transient_vm_config *config,
                                                  const char *user,
                                                  transient_error **error_out);

// Sets the private key to log in with. NULL, the default: the user's agent and default keys, then the well-known key
// of vagrant boxes. `path` is copied.
transient_status transient_vm_config_set_ssh_key(transient_vm_config *config,
                                                 const char *path,
                                                 transient_error **error_out);

// Sets the SSH program that is used in place of the library's own client; NULL is none, the default. `program` is
// copied.
transient_status transient_vm_config_set_ssh_program(transient_vm_config *config,
                                                     const char *program,
                                                     transient_error **error_out);

// Adds an option for `-o` of OpenSSH, which is then used in place of the library's own client. `option` is copied.
transient_status transient_vm_config_add_ssh_option(transient_vm_config *config,
                                                    const char *option,
                                                    transient_error **error_out);

// Sets the port of this host that leads to the guest's port 22; 0 is one that is free, the default.
transient_status transient_vm_config_set_ssh_port(transient_vm_config *config,
                                                  uint16_t port,
                                                  transient_error **error_out);

// Sets QEMU's name of the network card for SSH; NULL is `virtio-net-pci`, the default. `driver` is copied.
transient_status transient_vm_config_set_ssh_net_driver(transient_vm_config *config,
                                                        const char *driver,
                                                        transient_error **error_out);

// Sets how many seconds the guest may take to accept SSH; 0 is the default, 90.
transient_status transient_vm_config_set_ssh_timeout(transient_vm_config *config,
                                                     double seconds,
                                                     transient_error **error_out);

// Adds a folder of this host that the guest sees at `guest`, an absolute path; with `read_only`, it can change nothing
// in it. Both are copied. The guest needs `sshfs`.
transient_status transient_vm_config_add_shared_folder(transient_vm_config *config,
                                                       const char *host,
                                                       const char *guest,
                                                       bool read_only,
                                                       transient_error **error_out);

// Sets whether disks are what QEMU has by default (IDE), and not on virtio-scsi. The default is false.
transient_status transient_vm_config_set_no_virtio_scsi(transient_vm_config *config,
                                                        bool no_virtio_scsi,
                                                        transient_error **error_out);

// Sets its memory, in bytes; 0 is QEMU's default.
transient_status transient_vm_config_set_memory(transient_vm_config *config,
                                                uint64_t bytes,
                                                transient_error **error_out);

// Sets its virtual CPUs; 0 is one, the default.
transient_status transient_vm_config_set_cpus(transient_vm_config *config,
                                              uint32_t cpus,
                                              transient_error **error_out);

// Sets how many seconds the guest may take to shut down before QEMU is ended. The default is 20; with 0 the guest is
// not asked.
transient_status transient_vm_config_set_shutdown_timeout(transient_vm_config *config,
                                                          double seconds,
                                                          transient_error **error_out);

// Sets how many seconds QEMU may take to answer; 0 is the default, 10.
transient_status transient_vm_config_set_qmp_timeout(transient_vm_config *config,
                                                     double seconds,
                                                     transient_error **error_out);

// Sets the QEMU program, a name or a path; NULL is `qemu-system-x86_64`, the default. `program` is copied.
transient_status transient_vm_config_set_qemu(transient_vm_config *config,
                                              const char *program,
                                              transient_error **error_out);

// Adds an argument for QEMU, which gets it untouched, behind those that were added before. `argument` is copied.
transient_status transient_vm_config_add_qemu_arg(transient_vm_config *config,
                                                  const char *argument,
                                                  transient_error **error_out);

// Lists the VMs of this VM store: first those that run, whoever runs them, in the order of their start, then the others
// by name. The caller owns `*list_out`: `transient_vm_list_free`. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_IO` when the VM store or the folder of those that run cannot be read.
transient_status transient_store_vms(const transient_store *store,
                                     transient_vm_list **list_out,
                                     transient_error **error_out);

// Returns how many there are.
size_t transient_vm_list_len(const transient_vm_list *list);

// Returns one; NULL behind the last. Lives as long as the list.
const transient_vm_info *transient_vm_list_get(const transient_vm_list *list, size_t index);

// Returns how many VMs of the VM store cannot be read.
size_t transient_vm_list_warnings_len(const transient_vm_list *list);

// Returns one sentence about a VM that cannot be read; NULL behind the last. Lives as long as the list.
const char *transient_vm_list_warning(const transient_vm_list *list, size_t index);

// Frees a list. NULL is ignored.
void transient_vm_list_free(transient_vm_list *list);

// Ends VMs that run, also those of other processes, and waits for their ends: the guest is asked to shut down, and QEMU
// is ended if it does not in time; with `kill`, QEMU is killed at once. `names` has `names_len` strings. Any thread may
// call this.
//
// Fails with `TRANSIENT_STATUS_VM_NOT_RUNNING`, before any VM is ended, and with `TRANSIENT_STATUS_TIMEOUT` when the
// owner of a VM does not answer.
transient_status transient_store_stop_vms(const transient_store *store,
                                          const char *const *names,
                                          size_t names_len,
                                          bool kill,
                                          transient_error **error_out);

// Removes VMs of the VM store with their disks, all or none. `names` has `names_len` strings. With `force`, those that
// run are stopped first, and what is broken is removed as well. Any thread may call this.
//
// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, or with `TRANSIENT_STATUS_VM_IN_USE` without `force`.
transient_status transient_store_remove_vms(const transient_store *store,
                                            const char *const *names,
                                            size_t names_len,
                                            bool force,
                                            transient_error **error_out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TRANSIENT_H */
