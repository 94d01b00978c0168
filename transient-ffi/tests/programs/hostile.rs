//! A C program that calls every function of the header with each pointer NULL in turn, and with text that is no
//! UTF-8: made from the header, so that no function is forgotten.

use std::fmt::Write as _;

/// A function of the header.
struct Function {
    result: String,
    name: String,
    parameters: Vec<(String, String)>,
}

/// Returns the program.
pub(crate) fn program(header: &str) -> String {
    let functions = functions(header);
    assert!(functions.len() > 90, "{}", functions.len());
    let mut calls = String::new();
    for function in functions {
        let freed = function.name.ends_with("_free");
        let pointers: Vec<usize> = (0..function.parameters.len())
            .filter(|index| function.parameters[*index].0.ends_with('*') || function.is_callback(*index))
            .collect();
        let mut bad = vec![pointers.clone()];
        if !freed {
            bad.push(Vec::new());
            bad.extend(pointers.iter().map(|index| vec![*index]));
        }
        for null in bad {
            calls.push_str(&function.call(|index| null.contains(&index).then(|| "NULL".to_owned())));
        }
        for (index, (kind, _)) in function.parameters.iter().enumerate() {
            if kind == "const char *" {
                calls.push_str(&function.call(|at| (at == index).then(|| "\"a\\xff\"".to_owned())));
            }
        }
    }
    PRELUDE.replace("@CALLS@", &calls)
}

fn functions(header: &str) -> Vec<Function> {
    let code: String = header.lines().filter(|line| !line.trim_start().starts_with(['/', '#'])).collect();
    code.split([';', '{', '}'])
        .filter(|statement| !statement.contains("typedef") && !statement.contains("(*"))
        .filter_map(|statement| {
            let (before, parameters) = statement.trim().strip_suffix(')')?.split_once('(')?;
            let at = before.find(" transient_").or_else(|| before.find("*transient_"))?;
            let (result, name) = match before.rfind([' ', '*']) {
                Some(last) => (&before[..=last], &before[last + 1..]),
                None => (&before[..at], &before[at + 1..]),
            };
            let parameters = parameters.split(',').map(str::trim).filter(|text| *text != "void");
            let parameters = parameters
                .map(|text| {
                    let last = text.rfind([' ', '*']).map_or(0, |last| last + 1);
                    (text[..last].trim().to_owned(), text[last..].to_owned())
                })
                .collect();
            let result = result.trim().trim_start_matches("extern \"C\"").trim().to_owned();
            Some(Function { result, name: name.to_owned(), parameters })
        })
        .collect()
}

impl Function {
    fn is_callback(&self, index: usize) -> bool {
        matches!(
            self.parameters[index].0.as_str(),
            "transient_event_callback" | "transient_log_callback" | "transient_finalizer"
        )
    }

    /// Returns the call in a block of its own, in which what it gives is freed. `bad` may replace an argument.
    fn call(&self, bad: impl Fn(usize) -> Option<String>) -> String {
        let (mut before, mut after) = (String::new(), String::new());
        let mut arguments = Vec::new();
        for (index, (kind, name)) in self.parameters.iter().enumerate() {
            arguments.push(bad(index).unwrap_or_else(|| match kind.strip_suffix("**") {
                Some(handle) if name.ends_with("_out") => {
                    let handle = handle.trim();
                    writeln!(before, "        {handle} *{name} = NULL;").expect("a string");
                    let free = if handle == "char" { "transient_string" } else { handle };
                    writeln!(after, "        {free}_free({name});").expect("a string");
                    format!("&{name}")
                }
                _ => valid(kind, name),
            }));
        }
        let call = format!("{}({})", self.name, arguments.join(", "));
        let call = match (self.result.as_str(), self.name.as_str()) {
            (_, "transient_cancel_token_new") => format!("transient_cancel_token_free({call})"),
            ("char *", _) => format!("transient_string_free({call})"),
            ("void", _) => call,
            ("transient_status", _) if arguments.last().is_some_and(|last| last != "NULL") => {
                format!("CHECK((({call}) == TRANSIENT_STATUS_OK) == (error_out == NULL))")
            }
            _ => format!("(void){call}"),
        };
        format!("    {{\n{before}        {call};\n{after}    }}\n")
    }
}

/// Returns an argument that a function takes.
fn valid(kind: &str, name: &str) -> String {
    match (kind, name) {
        ("const char *", "folder" | "directory" | "path" | "kernel" | "modules") => {
            "\"/nowhere/at/all\"".to_owned()
        }
        ("const char *", _) => "\"text\"".to_owned(),
        ("const uint8_t *", _) => "(const uint8_t *)\"FROM\"".to_owned(),
        ("const char *const *", _) => "names".to_owned(),
        ("bool *", _) => "&flag".to_owned(),
        ("uint32_t *", _) => "&number".to_owned(),
        ("uint64_t *", _) => "&number_of_bytes".to_owned(),
        ("size_t *", _) => "&length".to_owned(),
        ("void *", _) => "&number".to_owned(),
        ("size_t", "index") => "SIZE_MAX".to_owned(),
        ("size_t", _) => "1".to_owned(),
        ("int", _) => "-1".to_owned(),
        ("double", _) => "-1.0".to_owned(),
        ("uint32_t", _) => "4000000000".to_owned(),
        ("uint16_t" | "uint64_t" | "bool", _) => "1".to_owned(),
        ("transient_event_callback" | "transient_log_callback" | "transient_finalizer", _) => {
            "NULL".to_owned()
        }
        (handle, _) => {
            let handle = handle.trim_start_matches("const ").trim_end_matches('*').trim();
            handle.strip_prefix("transient_").unwrap_or_else(|| panic!("what is a {handle}?")).to_owned()
        }
    }
}

const PRELUDE: &str = r#"// Made from the header by transient-ffi/tests/hostile.rs
#include "check.h"

int main(void) {
    uint32_t number = 0;
    uint64_t number_of_bytes = 0;
    bool flag = false;
    size_t length = 0;
    const char *names[] = {NULL};
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below("/nowhere/at/all", &locations, error));
    transient_store *store = NULL;
    CHECK_OK(transient_store_new(locations, &store, error));
    transient_build_options *build_options = NULL;
    CHECK_OK(transient_build_options_new("/nowhere/at/all", "name", &build_options, error));
    transient_cancel_token *cancel_token = transient_cancel_token_new();
    transient_imagefile *imagefile = NULL;
    CHECK_OK(transient_imagefile_parse(NULL, (const uint8_t *)"FROM a", 6, &imagefile, error));
    transient_plan *plan = NULL;
    CHECK_OK(transient_plan_new(imagefile, &plan, error));
    transient_image_spec *image_spec = NULL;
    CHECK_OK(transient_image_spec_parse("a", &image_spec, error));
    transient_image_list *image_list = NULL;
    CHECK_OK(transient_store_images(store, &image_list, error));
    transient_name_list *name_list = NULL;
    CHECK_OK(transient_store_vms_using(store, "a", &name_list, error));
    transient_pruned *pruned = NULL;
    CHECK_OK(transient_store_prune(store, true, 0, true, &pruned, error));
    transient_layer_list *layer_list = NULL;
    CHECK_OK(transient_store_layers(store, &layer_list, error));
    transient_vm_list *vm_list = NULL;
    CHECK_OK(transient_store_vms(store, &vm_list, error));
    transient_vm_config *vm_config = NULL;
    CHECK_OK(transient_vm_config_new("a", &vm_config, error));
    transient_run_options *run_options = NULL;
    CHECK_OK(transient_run_options_new(vm_config, &run_options, error));
    transient_copy_options *copy_options = NULL;
    CHECK_OK(transient_copy_options_new(&copy_options, error));
    transient_builder_options *builder_options = NULL;
    CHECK_OK(transient_builder_options_new(&builder_options, error));
    transient_ssh_options *ssh_options = NULL;
    CHECK_OK(transient_ssh_options_new(&ssh_options, error));
    transient_error *error = NULL;
    CHECK(transient_parse_bytes("x", &number_of_bytes, &error) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    // of these there is none without a VM
    transient_image *image = NULL;
    transient_inspection *inspection = NULL;
    transient_image_check *image_check = NULL;
    transient_appliance *appliance = NULL;
    transient_vm *vm = NULL;
    transient_bytes *bytes = NULL;
    // nor of these without a file
    transient_config_file *config_file = NULL;

@CALLS@
    transient_error_free(error);
    transient_ssh_options_free(ssh_options);
    transient_builder_options_free(builder_options);
    transient_copy_options_free(copy_options);
    transient_run_options_free(run_options);
    transient_vm_config_free(vm_config);
    transient_vm_list_free(vm_list);
    transient_layer_list_free(layer_list);
    transient_pruned_free(pruned);
    transient_name_list_free(name_list);
    transient_image_list_free(image_list);
    transient_image_spec_free(image_spec);
    transient_plan_free(plan);
    transient_imagefile_free(imagefile);
    transient_cancel_token_free(cancel_token);
    transient_build_options_free(build_options);
    transient_store_free(store);
    transient_locations_free(locations);
    return 0;
}
"#;
