use super::*;

/// The real dynamic linker is the judge: in the copied folders alone, every library must be found.
#[test]
fn the_libraries_are_all_that_the_tools_need() {
    let found = collect(Path::new("/")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, library) in &found.libraries {
        fs::write(folder.path().join(name), &library.bytes).unwrap();
    }
    let interpreter = found.interpreters.first().expect("the tools are linked dynamically");
    let linker = &found.libraries[&file_name(interpreter)].origin;
    for (name, program) in &found.programs {
        let output = std::process::Command::new(linker)
            .arg("--inhibit-cache")
            .arg("--library-path")
            .arg(folder.path())
            .arg("--list")
            .arg(&program.origin)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for line in text.lines().filter(|line| line.contains("=>")) {
            let from_copies = line.contains(&*folder.path().to_string_lossy());
            assert!(from_copies || line.contains("ld-linux"), "{name}: {line}");
        }
    }
}

#[test]
fn a_missing_tool_names_its_package() {
    let root = tempfile::tempdir().unwrap();
    let error = collect(root.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingProgram);
    assert_eq!(error.to_string(), "Required program 'mke2fs' is not installed");
    assert!(error.report().contains("e2fsprogs"));
}

#[test]
fn a_tool_that_is_no_program_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("sbin")).unwrap();
    for bytes in [&b"#!/bin/sh\n"[..], b"\x7fELF", b""] {
        fs::write(root.path().join("sbin/mke2fs"), bytes).unwrap();
        let error = collect(root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ApplianceInvalid);
        assert!(error.to_string().contains("sbin/mke2fs"), "{error}");
    }
}

#[test]
fn a_missing_library_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("sbin")).unwrap();
    fs::copy(program(Path::new("/"), "mke2fs").unwrap(), root.path().join("sbin/mke2fs")).unwrap();
    let interpreter = root.path().join("lib64/ld-linux-x86-64.so.2");
    fs::create_dir_all(interpreter.parent().unwrap()).unwrap();
    fs::copy("/lib64/ld-linux-x86-64.so.2", interpreter).unwrap();
    let error = collect(root.path()).unwrap_err();
    assert!(error.to_string().contains("libext2fs.so.2"), "{error}");
}

#[test]
fn included_configuration_is_read() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/ld.so.conf.d")).unwrap();
    fs::write(root.path().join("etc/ld.so.conf"), "include /etc/ld.so.conf.d/*.conf\n").unwrap();
    fs::write(root.path().join("etc/ld.so.conf.d/a.conf"), "# a comment\n/opt/lib\n").unwrap();
    fs::write(root.path().join("etc/ld.so.conf.d/b.txt"), "/not/this\n").unwrap();
    assert_eq!(configured_folders(root.path()), [root.path().join("opt/lib")]);
}
