//! Drives the real program, each test in a sandbox of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod disk;
mod fixture;
mod harness;
mod mounts;
mod on_failure;
mod person;
mod processes;
#[path = "../../transient-core/src/source/http/server.rs"]
#[expect(dead_code, reason = "it can more than the tests here want")]
mod server;

mod appliance;
mod build_add;
mod build_copy;
mod build_events;
mod build_failures;
mod build_faults;
mod build_filesystems;
mod build_inspect;
mod build_interrupts;
mod build_network;
mod build_refusals;
mod build_scratch;
mod cache;
mod concurrency;
mod documented_tests;
mod explain;
mod fault_clock;
mod fault_permissions;
mod fault_programs;
mod fault_space;
mod fault_streams;
mod flatten;
mod generated;
mod help;
mod image_check;
mod image_history;
mod image_import_export;
mod image_inspect;
mod image_ls;
mod image_prune;
mod image_pull;
mod image_rm;
mod image_tag;
mod interop;
mod real_debian;
mod stress;
mod tiny_vm;
mod usage;
mod vm_copy;
mod vm_ends;
mod vm_run;
mod vm_share;
mod vm_store;
mod warm_start;
