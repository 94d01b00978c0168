// Reaches a guest by SSH. Usage: guest FOLDER
// The folder has a backend with the image `tiny`, which is that of scripts/tiny-vm.sh. TRANSIENT_APPLIANCE names the
// appliance, by which files are copied into its disk and out of it.

#include <pthread.h>
#include <unistd.h>

#include "check.h"

struct said {
    char out[256];
    char err[256];
    transient_cancel_token *cancel;
};

static void on_event(void *user_data, const transient_event *event) {
    struct said *said = user_data;
    if (event->kind != TRANSIENT_EVENT_KIND_OUTPUT) return;
    char *text = event->data.output.stream == TRANSIENT_STREAM_STDOUT ? said->out : said->err;
    CHECK(strlen(text) + event->data.output.len < sizeof said->out);
    strncat(text, (const char *)event->data.output.data, event->data.output.len);
    transient_cancel_token_cancel(said->cancel);
}

static void commands(const transient_vm *vm) {
    struct said said = {0};
    uint32_t status = 0;
    CHECK_OK(transient_vm_ssh(vm, "hostname; echo problem >&2; exit 7", NULL, 0, 0, on_event, &said, NULL, NULL,
                              &status, error));
    CHECK_TEXT(said.out, "tiny\n");
    CHECK_TEXT(said.err, "problem\n");
    CHECK(status == 7);
    said = (struct said){0};
    CHECK_OK(transient_vm_ssh(vm, "tr a-z A-Z", (const uint8_t *)"loud", 4, 60, on_event, &said, NULL, NULL, NULL,
                              error));
    CHECK_TEXT(said.out, "LOUD");
    CHECK_FAILS(TRANSIENT_STATUS_TIMEOUT,
                transient_vm_ssh(vm, "sleep 1000", NULL, 0, 0.5, NULL, NULL, NULL, NULL, NULL, error));
    said = (struct said){.cancel = transient_cancel_token_new()};
    CHECK_FAILS(TRANSIENT_STATUS_CANCELLED, transient_vm_ssh(vm, "echo here; sleep 1000", NULL, 0, 0, on_event, &said,
                                                             NULL, said.cancel, NULL, error));
    CHECK_TEXT(said.out, "here\n");
    transient_cancel_token_free(said.cancel);

    // a pipe is no terminal: it is what the shell reads
    int input[2];
    CHECK(pipe(input) == 0 && write(input[1], "echo piped; exit 3\n", 19) == 19 && close(input[1]) == 0);
    said = (struct said){0};
    CHECK_OK(transient_vm_ssh_terminal(vm, NULL, input[0], input[0], "dumb", on_event, &said, NULL, NULL, &status,
                                       error));
    close(input[0]);
    CHECK_TEXT(said.out, "piped\n");
    CHECK(status == 3);
}

static void *count(void *vm) {
    struct said said = {0};
    CHECK_OK(transient_vm_ssh(vm, "cat | wc -c", (const uint8_t *)"12345", 5, 0, on_event, &said, NULL, NULL, NULL,
                              error));
    CHECK_TEXT(said.out, "5\n");
    return NULL;
}

static const char *below(const char *folder, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void check_file(const char *path, const char *expected) {
    char text[64] = {0};
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && fread(text, 1, sizeof text - 1, file) > 0 && fclose(file) == 0);
    CHECK_TEXT(text, expected);
}

static void files(const transient_vm *vm, const char *folder) {
    write_file(below(folder, "source"), "content");
    CHECK_OK(transient_vm_copy_in(vm, below(folder, "source"), "/tmp/there", NULL, NULL, NULL, NULL, error));
    CHECK_OK(transient_vm_copy_out(vm, "/tmp/there", below(folder, "back"), NULL, NULL, NULL, NULL, error));
    check_file(below(folder, "back"), "content");
}

// As another process would.
static void by_name(const transient_store *store, const char *name) {
    struct said said = {0};
    uint32_t status = 1;
    CHECK_OK(transient_ssh(store, name, NULL, "cat /greeting", NULL, 0, 0, true, on_event, &said, NULL, NULL, &status,
                           error));
    CHECK_TEXT(said.out, "good morning");
    CHECK(status == 0);
    transient_ssh_options *ssh = NULL;
    CHECK_OK(transient_ssh_options_new(&ssh, error));
    CHECK_OK(transient_ssh_options_set_user(ssh, "nobody", error));
    CHECK_OK(transient_ssh_options_set_timeout(ssh, 30, error));
    CHECK_FAILS(TRANSIENT_STATUS_SSH_FAILED, transient_ssh(store, name, ssh, "true", NULL, 0, 0, false, NULL, NULL,
                                                           NULL, NULL, NULL, error));
    transient_ssh_options_free(ssh);
}

static transient_run_options *options_of(const char *folder) {
    transient_vm_config *config = NULL;
    CHECK_OK(transient_vm_config_new("tiny", &config, error));
    CHECK_OK(transient_vm_config_set_ssh(config, true, error));
    CHECK_OK(transient_vm_config_set_memory(config, 256 << 20, error));
    transient_run_options *options = NULL;
    CHECK_OK(transient_run_options_new(config, &options, error));
    transient_vm_config_free(config);
    transient_builder_options *builder = NULL;
    CHECK_OK(transient_builder_options_new(&builder, error));
    CHECK_OK(transient_builder_options_set_memory(builder, 512 << 20, error));
    CHECK_OK(transient_run_options_set_builder(options, builder, error));
    transient_builder_options_free(builder);
    write_file(below(folder, "greeting"), "good morning");
    CHECK_OK(transient_run_options_add_copy_in_before(options, below(folder, "greeting"), "/greeting", error));
    CHECK_OK(transient_run_options_add_copy_out_after(options, "/root/farewell", below(folder, "farewell"), error));
    return options;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below(argv[1], &locations, error));
    CHECK_OK(transient_locations_set_appliance(locations, getenv("TRANSIENT_APPLIANCE"), error));
    transient_store *store = NULL;
    CHECK_OK(transient_store_new(locations, &store, error));
    transient_locations_free(locations);
    transient_run_options *options = options_of(argv[1]);
    transient_vm *vm = NULL;
    CHECK_OK(transient_vm_run(store, options, NULL, NULL, NULL, NULL, &vm, error));
    transient_run_options_free(options);
    commands(vm);
    pthread_t threads[4];
    for (int index = 0; index < 4; index++) CHECK(pthread_create(&threads[index], NULL, count, vm) == 0);
    for (int index = 0; index < 4; index++) CHECK(pthread_join(threads[index], NULL) == 0);
    files(vm, argv[1]);
    by_name(store, transient_vm_name(vm));
    CHECK_OK(transient_vm_ssh(vm, "echo goodbye | sudo tee /root/farewell", NULL, 0, 0, NULL, NULL, NULL, NULL, NULL,
                              error));
    CHECK_OK(transient_vm_stop(vm, false, NULL, NULL, NULL, NULL, error)); // the guest shuts down
    CHECK(!transient_vm_is_running(vm));
    check_file(below(argv[1], "farewell"), "goodbye\n");
    transient_vm_free(vm);
    transient_store_free(store);
    return 0;
}
