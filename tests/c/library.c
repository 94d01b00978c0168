// Parses, plans, lists and removes: all that needs no VM. Usage: library FOLDER
// The folder has a backend with the images `one` and `two`, a file `odd` that is no image, and a VM `vm` on `two`.

#include "check.h"

static const char GOOD[] =
    "# comment\nFROM scratch\nDISK 2 GB GPT\nPARTITION 1 SIZE 100 MiB FORMAT vfat MOUNT /boot/efi FLAGS efi\n"
    "PARTITION 2 FORMAT ext4 OPTIONS \"-L root\" MOUNT /\nADD a.tar 'b c' /x/\nRUN echo \\\n  hello\nINSPECT\n";

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void versions(void) {
    CHECK(transient_abi_version() == TRANSIENT_ABI_VERSION);
    CHECK(transient_version() != NULL);
    CHECK(transient_has_feature("build"));
    CHECK(!transient_has_feature("teleport"));
    CHECK_TEXT(transient_status_name(TRANSIENT_STATUS_IMAGE_IN_USE), "image-in-use");
}

static void good_imagefile(void) {
    transient_imagefile *imagefile = NULL;
    CHECK_OK(transient_imagefile_parse("dir/Imagefile", (const uint8_t *)GOOD, strlen(GOOD), &imagefile, error));
    CHECK_TEXT(transient_imagefile_path(imagefile), "dir/Imagefile");
    CHECK_TEXT(transient_imagefile_text(imagefile), GOOD);
    CHECK(transient_imagefile_instructions_len(imagefile) == 7);
    CHECK(transient_imagefile_instruction(imagefile, 7) == NULL);

    const transient_instruction *from = transient_imagefile_instruction(imagefile, 0);
    CHECK(from->keyword == TRANSIENT_KEYWORD_FROM && from->data.from.name == NULL && from->line == 2);
    const transient_instruction *disk = transient_imagefile_instruction(imagefile, 1);
    CHECK(disk->keyword == TRANSIENT_KEYWORD_DISK && disk->data.disk.size == UINT64_C(2) << 30);
    CHECK_TEXT(disk->data.disk.label, "GPT");
    const transient_instruction *efi = transient_imagefile_instruction(imagefile, 2);
    CHECK(efi->data.partition.flags_len == 1);
    CHECK_TEXT(efi->data.partition.flags[0], "efi");
    CHECK_TEXT(efi->text, "PARTITION 1 SIZE 100MiB FORMAT vfat MOUNT /boot/efi FLAGS efi");
    const transient_instruction *root = transient_imagefile_instruction(imagefile, 3);
    CHECK(root->data.partition.number == 2 && root->data.partition.size == 0);
    CHECK(root->data.partition.options_len == 2);
    CHECK_TEXT(root->data.partition.options[1], "root");
    CHECK_TEXT(root->data.partition.mount, "/");
    const transient_instruction *add = transient_imagefile_instruction(imagefile, 4);
    CHECK(add->keyword == TRANSIENT_KEYWORD_ADD && add->data.transfer.sources_len == 2);
    CHECK_TEXT(add->data.transfer.sources[1], "b c");
    CHECK_TEXT(add->data.transfer.destination, "/x/");
    const transient_instruction *run = transient_imagefile_instruction(imagefile, 5);
    CHECK_TEXT(run->data.run.command, "echo    hello");
    CHECK(memcmp(GOOD + run->start, "RUN", 3) == 0 && GOOD[run->end] == '\n');

    transient_plan *plan = NULL;
    CHECK_OK(transient_plan_new(imagefile, &plan, error));
    transient_imagefile_free(imagefile);
    CHECK(transient_plan_steps_len(plan) == 7);
    CHECK(transient_plan_disk_size(plan) == UINT64_C(2) << 30);
    CHECK(transient_plan_partitions_len(plan) == 2);
    const transient_placed_partition *first = transient_plan_partition(plan, 0);
    CHECK(first->number == 1 && first->start == 1 << 20 && first->size == 100 << 20);
    CHECK_TEXT(first->kind, "efi-system");
    CHECK(transient_plan_partition(plan, 2) == NULL);
    CHECK(transient_plan_mounts_len(plan) == 2);
    CHECK_TEXT(transient_plan_mount(plan, 0)->path, "/");
    CHECK_TEXT(transient_plan_mount(plan, 1)->filesystem, "vfat");
    transient_plan_free(plan);
}

static void bad_imagefile(void) {
    static const char BAD[] = "FROM a\nCPOY b c\nDISK\xff 1 GB\n";
    transient_imagefile *imagefile = NULL;
    transient_error *error = NULL;
    transient_status status =
        transient_imagefile_parse(NULL, (const uint8_t *)BAD, strlen(BAD), &imagefile, &error);
    CHECK(status == TRANSIENT_STATUS_INVALID_IMAGEFILE && imagefile == NULL);
    CHECK(transient_error_status(error) == status);
    CHECK_TEXT(transient_error_file(error), "Imagefile");
    CHECK(transient_error_line(error) == 2 && transient_error_column(error) == 1);
    size_t count = transient_error_diagnostics_len(error);
    CHECK(count >= 2);
    const transient_diagnostic *misspelt = transient_error_diagnostic(error, 0);
    CHECK_TEXT(misspelt->text, "CPOY b c");
    CHECK(strstr(misspelt->help, "COPY") != NULL);
    CHECK(transient_error_diagnostic(error, count) == NULL);
    CHECK(strstr(transient_error_report(error), "CPOY") != NULL);
    CHECK(strstr(transient_error_report_colored(error), "\x1b[") != NULL);
    CHECK(!transient_error_exit_status(error, NULL));
    CHECK(transient_error_step(error) == NULL);
    size_t length = 1;
    CHECK_TEXT(transient_error_output(error, &length), "");
    CHECK(length == 0);
    transient_error_free(error);
    // the object is not wanted
    CHECK(transient_imagefile_load("/does/not/exist", &imagefile, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
}

static void names(void) {
    char *text = NULL;
    CHECK_OK(transient_image_name_encode("centos/7:2004.01", &text, error));
    CHECK_TEXT(text, "centos%2F7%3A2004.01");
    transient_string_free(text);
    CHECK_OK(transient_image_name_decode("a%2Db", &text, error));
    CHECK_TEXT(text, "a-b");
    transient_string_free(text);
    CHECK(transient_image_name_encode("", &text, NULL) == TRANSIENT_STATUS_INVALID_IMAGE_NAME);
    CHECK(transient_image_name_decode("vm-0-a", &text, NULL) == TRANSIENT_STATUS_INVALID_IMAGE_NAME);
    transient_image_spec *spec = NULL;
    CHECK_OK(transient_image_spec_parse("a,file=/b.qcow2", &spec, error));
    CHECK_TEXT(transient_image_spec_name(spec), "a");
    CHECK_TEXT(transient_image_spec_protocol(spec), "file");
    CHECK_TEXT(transient_image_spec_source(spec), "/b.qcow2");
    CHECK(transient_image_spec_checksum(spec) == NULL);
    transient_image_spec_free(spec);
    CHECK_OK(transient_image_spec_parse("a,http=http://b/c,SHA256=" DIGEST, &spec, error));
    CHECK_TEXT(transient_image_spec_source(spec), "http://b/c");
    CHECK_TEXT(transient_image_spec_checksum(spec), "sha256=" DIGEST);
    transient_image_spec_free(spec);
    uint64_t bytes = 0;
    CHECK_OK(transient_parse_bytes("2GiB", &bytes, error));
    CHECK(bytes == UINT64_C(2) << 30);
    text = transient_format_bytes(bytes);
    CHECK_TEXT(text, "2.00 GiB");
    transient_string_free(text);
}

static void inspections(const transient_store *store) {
    transient_inspection *inspection = NULL;
    CHECK_OK(transient_store_inspect(store, "two", &inspection, error));
    CHECK_TEXT(transient_image_name(transient_inspection_image(inspection)), "two");
    const transient_image_details *details = transient_inspection_details(inspection);
    CHECK_TEXT(details->format, "qcow2");
    CHECK_TEXT(details->compat, "1.1");
    CHECK_TEXT(details->compression, "zlib");
    CHECK(details->cluster_size == 1 << 16 && details->parent == NULL && strlen(details->created) == 24);
    CHECK(transient_inspection_vms_len(inspection) == 1);
    CHECK_TEXT(transient_inspection_vm(inspection, 0), "vm");
    // another program made it
    CHECK(transient_inspection_provenance(inspection) == NULL);
    CHECK(transient_inspection_steps_len(inspection) == 0 && transient_inspection_step(inspection, 0) == NULL);
    CHECK(transient_inspection_warnings_len(inspection) == 0);
    transient_inspection_free(inspection);
    CHECK(transient_store_inspect(store, "three", &inspection, NULL) == TRANSIENT_STATUS_IMAGE_NOT_FOUND);
}

// What is known of `copy`, which was pulled.
static void provenance(const transient_store *store, const char *spec, const char *folder) {
    transient_inspection *inspection = NULL;
    CHECK_OK(transient_store_inspect(store, "copy", &inspection, error));
    const transient_provenance *made = transient_inspection_provenance(inspection);
    CHECK(made != NULL && made->kind == TRANSIENT_PROVENANCE_KIND_PULL);
    CHECK_TEXT(made->spec, spec);
    CHECK_TEXT(made->format, "qcow2");
    CHECK_TEXT(made->version, transient_version());
    CHECK(made->compression == NULL && made->checksum == NULL && made->parent == NULL && made->appliance == NULL);
    CHECK(strlen(made->id) == 32 && strlen(made->created) == 24);
    CHECK(transient_inspection_steps_len(inspection) == 1);
    const transient_history_step *step = transient_inspection_step(inspection, 0);
    CHECK_TEXT(step->image, "copy");
    CHECK(strncmp(step->instruction, "PULL copy,file=", 15) == 0 && step->elapsed > 0);
    CHECK(strlen(step->finished) == 24);
    transient_inspection_free(inspection);

    char record[4096];
    snprintf(record, sizeof record, "%s/backend/.provenance/copy", folder);
    FILE *file = fopen(record, "w");
    CHECK(file != NULL && fputs("{", file) >= 0 && fclose(file) == 0);
    CHECK_OK(transient_store_inspect(store, "copy", &inspection, error));
    CHECK(transient_inspection_provenance(inspection) == NULL);
    CHECK(transient_inspection_warnings_len(inspection) == 1);
    CHECK(strstr(transient_inspection_warning(inspection, 0), "damaged") != NULL);
    transient_inspection_free(inspection);
}

static void checks(const transient_store *store, const char *folder) {
    transient_image_check *check = NULL;
    CHECK_OK(transient_store_check(store, "one", NULL, &check, error));
    CHECK(transient_image_check_is_sound(check));
    CHECK_TEXT(transient_image_check_name(check), "one");
    CHECK(strstr(transient_image_check_path(check), "/backend/one") != NULL);
    CHECK(transient_image_check_corruptions(check) == 0 && transient_image_check_leaks(check) == 0);
    CHECK(transient_image_check_refusal(check) == NULL && transient_image_check_hint(check) == NULL);
    transient_image_check_free(check);
    CHECK_OK(transient_store_check(store, "odd", NULL, &check, error));
    CHECK(!transient_image_check_is_sound(check));
    CHECK(strstr(transient_image_check_refusal(check), "raw") != NULL);
    transient_image_check_free(check);
    transient_cancel_token *cancel = transient_cancel_token_new();
    transient_cancel_token_cancel(cancel);
    CHECK(transient_store_check(store, "one", cancel, &check, NULL) == TRANSIENT_STATUS_CANCELLED);
    transient_cancel_token_free(cancel);

    char imagefile[4096];
    snprintf(imagefile, sizeof imagefile, "%s/Imagefile", folder);
    FILE *file = fopen(imagefile, "w");
    CHECK(file != NULL && fputs("FROM missing\nRUN true\n", file) >= 0 && fclose(file) == 0);
    transient_error *error = NULL;
    CHECK(transient_check(store, folder, NULL, NULL, &error) == TRANSIENT_STATUS_INVALID_IMAGEFILE);
    CHECK(transient_error_diagnostics_len(error) == 1 && transient_error_diagnostic(error, 0)->line == 1);
    transient_error_free(error);
    file = fopen(imagefile, "w");
    CHECK(file != NULL && fputs("FROM one\nRUN true\n", file) >= 0 && fclose(file) == 0);
    transient_plan *plan = NULL;
    CHECK_OK(transient_check(store, folder, imagefile, &plan, error));
    CHECK(transient_plan_steps_len(plan) == 2);
    transient_plan_free(plan);
}

// Pulls an image from the file of another.
static void on_pulled(void *user_data, const transient_event *event) {
    if (event->kind == TRANSIENT_EVENT_KIND_PULL_FINISHED) {
        CHECK_TEXT(transient_image_name(event->data.pull_finished.image), "copy");
        *(int *)user_data += event->data.pull_finished.fetched ? 1 : 100;
    }
}

static void pulls(const transient_store *store, const char *folder) {
    char spec[4096];
    snprintf(spec, sizeof spec, "copy,file=%s/backend/one", folder);
    const char *specs[] = {spec, "copy"};
    transient_image_list *list = NULL;
    int pulled = 0;
    CHECK_OK(transient_pull(store, specs, 2, on_pulled, &pulled, NULL, NULL, &list, error));
    CHECK(pulled == 101 && transient_image_list_len(list) == 2 && transient_image_list_warnings_len(list) == 0);
    CHECK_TEXT(transient_image_name(transient_image_list_get(list, 1)), "copy");
    transient_image_list_free(list);
    provenance(store, spec, folder);
    specs[0] = "x,file=/does/not/exist";
    CHECK(transient_pull(store, specs, 1, NULL, NULL, NULL, NULL, NULL, NULL) == TRANSIENT_STATUS_SOURCE_FAILED);
    specs[0] = "x,http=http://b/c,sha256=12";
    CHECK(transient_pull(store, specs, 1, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_INVALID_IMAGE_NAME);
    transient_name_list *warnings = NULL;
    const char *names[] = {"copy"};
    CHECK_OK(transient_store_remove(store, names, 1, false, &warnings, error));
    transient_name_list_free(warnings);
}

// Tags, exports, imports and prunes: what goes out comes back.
static void on_exported(void *user_data, const transient_event *event) {
    if (event->kind == TRANSIENT_EVENT_KIND_EXPORT_FINISHED) {
        CHECK(strstr(event->data.export_finished.path, "one.vmdk") != NULL);
        CHECK(event->data.export_finished.real_size > 0 && event->data.export_finished.elapsed > 0);
        *(int *)user_data += 1;
    }
}

static void exchanges(const transient_store *store, const char *folder) {
    transient_image *image = NULL;
    CHECK_OK(transient_tag(store, "one", "other/one", false, NULL, NULL, NULL, NULL, &image, error));
    CHECK_TEXT(transient_image_name(image), "other/one");
    transient_image_free(image);
    transient_error *error = NULL;
    CHECK(transient_tag(store, "one", "other/one", false, NULL, NULL, NULL, NULL, NULL, &error) ==
          TRANSIENT_STATUS_IMAGE_EXISTS);
    CHECK_TEXT(transient_error_message(error), "An image with the name 'other/one' already exists");
    transient_error_free(error);
    CHECK_OK(transient_tag(store, "one", "other/one", true, NULL, NULL, NULL, NULL, NULL, error));
    CHECK(transient_tag(store, "one", "two", true, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_IMAGE_IN_USE);

    char path[4096];
    snprintf(path, sizeof path, "%s/one.vmdk", folder);
    int exported = 0;
    CHECK_OK(transient_export(store, "one", path, TRANSIENT_EXPORT_FORMAT_AUTO, false, false, on_exported, &exported,
                              NULL, NULL, error));
    CHECK(exported == 1);
    CHECK(transient_export(store, "one", path, TRANSIENT_EXPORT_FORMAT_VDI, false, false, NULL, NULL, NULL, NULL,
                           NULL) == TRANSIENT_STATUS_FILE_EXISTS);
    CHECK(transient_export(store, "one", path, TRANSIENT_EXPORT_FORMAT_VDI, true, true, NULL, NULL, NULL, NULL,
                           NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(transient_import(store, path, NULL, DIGEST, true, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_INVALID_IMAGE); // another file than was meant
    CHECK(transient_import(store, path, "one", NULL, false, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_IMAGE_EXISTS);
    CHECK_OK(transient_import(store, path, "back", NULL, false, NULL, NULL, NULL, NULL, &image, error));
    CHECK(transient_image_virtual_size(image) == 1 << 20);
    transient_image_free(image);
    remove(path);

    transient_pruned *pruned = NULL;
    CHECK_OK(transient_store_prune(store, true, 0, true, &pruned, error));
    CHECK(transient_image_list_len(transient_pruned_images(pruned)) == 3); // back, one and other/one
    CHECK(transient_name_list_len(transient_pruned_leftovers(pruned)) == 0);
    CHECK(transient_name_list_len(transient_pruned_warnings(pruned)) == 1); // odd
    CHECK(transient_pruned_freed(pruned) > 0);
    transient_pruned_free(pruned);
    CHECK_OK(transient_store_prune(store, true, 3600, false, &pruned, error));
    CHECK(transient_image_list_len(transient_pruned_images(pruned)) == 0 && transient_pruned_freed(pruned) == 0);
    transient_pruned_free(pruned);
    CHECK(transient_store_prune(store, true, -1, true, &pruned, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    const char *names[] = {"back", "other/one"};
    CHECK_OK(transient_store_remove(store, names, 2, false, NULL, error));
}

// a build that leaves layers is that of examples/c
static void layers(const transient_store *store) {
    transient_layer_list *list = NULL;
    CHECK_OK(transient_store_layers(store, &list, error));
    CHECK(transient_layer_list_len(list) == 0 && transient_layer_list_get(list, 0) == NULL);
    transient_layer_list_free(list);
    uint64_t freed = 1;
    CHECK_OK(transient_store_prune_layers(store, 0, &freed, error));
    CHECK(freed == 0);
    CHECK_OK(transient_store_prune_layers(store, 0, NULL, error));
    const char *keys[] = {"0000", NULL};
    CHECK_OK(transient_store_remove_layers(store, keys, 0, error));
    CHECK(transient_store_remove_layers(store, keys, 1, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(transient_store_remove_layers(store, keys, 2, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(transient_store_remove_layers(store, NULL, 1, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
}

static void downloads(transient_locations *locations) {
    CHECK_OK(transient_locations_set_http_proxy(locations, "http://127.0.0.1:1", error));
    CHECK_OK(transient_locations_set_https_proxy(locations, NULL, error));
    CHECK_OK(transient_locations_set_no_proxy(locations, "*", error));
    CHECK_OK(transient_locations_add_certificates(locations, "/does/not/exist", error));
    CHECK_OK(transient_locations_set_vagrant_server(locations, "http://127.0.0.1:1", error));
    CHECK_OK(transient_locations_set_vagrant_token(locations, "secret", error));
    CHECK(transient_locations_set_vagrant_server(locations, NULL, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    transient_store *store = NULL;
    CHECK_OK(transient_store_new(locations, &store, error));
    const char *specs[] = {"some/box"};
    transient_error *error = NULL;
    // the certificates are looked at first of all
    transient_status status = transient_pull(store, specs, 1, NULL, NULL, NULL, NULL, NULL, &error);
    CHECK(status == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(transient_error_report(error), "/does/not/exist") != NULL);
    transient_error_free(error);
    transient_store_free(store);
}

static void store(const char *folder) {
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below(folder, &locations, error));
    transient_store *store = NULL;
    CHECK_OK(transient_store_new(locations, &store, error));
    downloads(locations);
    transient_locations_free(locations);

    CHECK(strstr(transient_store_backend(store), "/backend") != NULL);
    CHECK(strstr(transient_store_vmstore(store), "/vmstore") != NULL);
    CHECK(strstr(transient_store_cache(store), "/cache") != NULL);

    transient_image_list *list = NULL;
    CHECK_OK(transient_store_images(store, &list, error));
    CHECK(transient_image_list_len(list) == 2);
    const transient_image *one = transient_image_list_get(list, 0);
    CHECK_TEXT(transient_image_name(one), "one");
    CHECK(strstr(transient_image_path(one), "/backend/one") != NULL);
    CHECK(transient_image_virtual_size(one) == 1 << 20 && transient_image_real_size(one) > 0);
    CHECK(transient_image_list_get(list, 2) == NULL);
    CHECK(transient_image_list_warnings_len(list) == 1);
    CHECK(strstr(transient_image_list_warning(list, 0), "odd") != NULL);
    transient_image_list_free(list);

    transient_image *image = NULL;
    CHECK_OK(transient_store_image(store, "two", &image, error));
    CHECK_TEXT(transient_image_name(image), "two");
    transient_image_free(image);
    CHECK(transient_store_image(store, "three", &image, NULL) == TRANSIENT_STATUS_IMAGE_NOT_FOUND);

    inspections(store);
    checks(store, folder);
    pulls(store, folder);
    exchanges(store, folder);
    layers(store);

    transient_name_list *names = NULL;
    CHECK_OK(transient_store_vms_using(store, "two", &names, error));
    CHECK(transient_name_list_len(names) == 1);
    CHECK_TEXT(transient_name_list_get(names, 0), "vm");
    transient_name_list_free(names);

    const char *both[] = {"one", "two"};
    transient_error *error = NULL;
    CHECK(transient_store_remove(store, both, 2, false, NULL, &error) == TRANSIENT_STATUS_IMAGE_IN_USE);
    CHECK_TEXT(transient_error_message(error), "Backend 'two' is in use by ['vm']");
    CHECK(transient_error_vms_len(error) == 1);
    CHECK_TEXT(transient_error_vm(error, 0), "vm");
    CHECK(transient_error_hints_len(error) == 1 && transient_error_hint(error, 1) == NULL);
    transient_error_free(error);
    CHECK_OK(transient_store_images(store, &list, error));
    CHECK(transient_image_list_len(list) == 2); // all or none
    transient_image_list_free(list);
    CHECK_OK(transient_store_remove(store, both, 2, true, &names, error));
    CHECK(transient_name_list_len(names) == 1);
    transient_name_list_free(names);
    transient_store_free(store);
}

static int records;
static int finalized;

static void on_record(void *user_data, uint32_t level, const char *target, const char *message) {
    CHECK(user_data == &records && level >= TRANSIENT_LOG_LEVEL_ERROR && target != NULL && message != NULL);
    records++;
}

static void on_end(void *user_data) {
    (void)user_data;
    finalized++;
}

static void logging(const char *folder) {
    CHECK_OK(transient_log_set(on_record, TRANSIENT_LOG_LEVEL_TRACE, &records, on_end, error));
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below(folder, &locations, error));
    // a broken appliance is passed over with a warning in the log
    CHECK_OK(transient_locations_add_appliance(locations, folder, error));
    transient_appliance *appliance = NULL;
    transient_status status = transient_appliance_find(locations, &appliance, NULL);
    CHECK(status == TRANSIENT_STATUS_OK || status == TRANSIENT_STATUS_APPLIANCE_NOT_FOUND ||
          status == TRANSIENT_STATUS_APPLIANCE_INVALID);
    transient_appliance_free(appliance);
    transient_locations_free(locations);
    CHECK(records > 0 && finalized == 0);
    CHECK_OK(transient_log_set(NULL, 0, NULL, NULL, error));
    CHECK(finalized == 1);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    versions();
    good_imagefile();
    bad_imagefile();
    names();
    store(argv[1]);
    logging(argv[1]);
    return 0;
}
