// Runs VMs, and ends them in each way. Usage: vm FOLDER
// The folder has a backend with the image `boots`, whose boot sector writes `ok` to the serial port and stops.

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

struct seen {
    int starting;
    int finalized;
    char name[64];
};

static void on_event(void *user_data, const transient_event *event) {
    struct seen *seen = user_data;
    CHECK(seen->finalized == 0);
    if (event->kind == TRANSIENT_EVENT_KIND_VM_STARTING) {
        seen->starting++;
        CHECK_TEXT(event->data.vm_starting.image, "boots");
        snprintf(seen->name, sizeof seen->name, "%s", event->data.vm_starting.name);
    }
}

static void on_end(void *user_data) { ((struct seen *)user_data)->finalized++; }

static transient_vm_config *config_of(const char *image) {
    transient_vm_config *config = NULL;
    CHECK_OK(transient_vm_config_new(image, &config, error));
    CHECK_OK(transient_vm_config_set_memory(config, 32 << 20, error));
    CHECK_OK(transient_vm_config_set_shutdown_timeout(config, 0, error)); // it would not listen
    CHECK_OK(transient_vm_config_set_qmp_timeout(config, 60, error));
    CHECK_OK(transient_vm_config_add_qemu_arg(config, "-accel", error));
    CHECK_OK(transient_vm_config_add_qemu_arg(config, "tcg", error));
    return config;
}

static transient_vm *run(const transient_store *store, const transient_vm_config *config, struct seen *seen) {
    transient_run_options *options = NULL;
    CHECK_OK(transient_run_options_new(config, &options, error));
    transient_vm *vm = NULL;
    transient_event_callback callback = seen == NULL ? NULL : on_event;
    transient_finalizer finalizer = seen == NULL ? NULL : on_end;
    CHECK_OK(transient_vm_run(store, options, callback, seen, finalizer, NULL, &vm, error));
    transient_run_options_free(options);
    return vm;
}

// Waits until the guest has said it.
static void await_serial(const transient_vm *vm) {
    for (int round = 0;; round++) {
        transient_bytes *bytes = NULL;
        CHECK_OK(transient_vm_serial(vm, &bytes, error));
        const char *text = (const char *)transient_bytes_data(bytes);
        CHECK(strlen(text) == transient_bytes_len(bytes));
        bool said = strstr(text, "ok") != NULL;
        transient_bytes_free(bytes);
        if (said) return;
        CHECK(round < 1200);
        usleep(50 * 1000);
    }
}

static void *query(void *vm) {
    for (int round = 0; round < 10; round++) {
        char *answer = NULL;
        CHECK_OK(transient_vm_qmp(vm, "{\"execute\": \"query-status\"}", &answer, error));
        CHECK(strstr(answer, "\"running\":true") != NULL);
        transient_string_free(answer);
    }
    return NULL;
}

static void monitor(transient_vm *vm) {
    pthread_t threads[4];
    for (int index = 0; index < 4; index++) CHECK(pthread_create(&threads[index], NULL, query, vm) == 0);
    for (int index = 0; index < 4; index++) CHECK(pthread_join(threads[index], NULL) == 0);
    CHECK_OK(transient_vm_qmp(vm, "{\"execute\": \"query-version\"}", NULL, error));
    CHECK(transient_vm_qmp(vm, "{", NULL, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    transient_error *error = NULL;
    CHECK(transient_vm_qmp(vm, "{\"execute\": \"fly\"}", NULL, &error) == TRANSIENT_STATUS_QEMU_FAILED);
    CHECK(strstr(transient_error_report(error), "fly") != NULL);
    transient_error_free(error);
}

static void listed(const transient_store *store, const transient_vm *vm) {
    transient_vm_list *list = NULL;
    CHECK_OK(transient_store_vms(store, &list, error));
    CHECK(transient_vm_list_len(list) == 1 && transient_vm_list_get(list, 1) == NULL);
    CHECK(transient_vm_list_warnings_len(list) == 0 && transient_vm_list_warning(list, 0) == NULL);
    const transient_vm_info *info = transient_vm_list_get(list, 0);
    CHECK_TEXT(info->name, transient_vm_name(vm));
    CHECK_TEXT(info->image, "boots");
    CHECK(info->running && info->stateless && !info->stored && !info->ssh && info->ssh_port == 0);
    CHECK(info->pid == (uint32_t)getpid() && info->qemu_pid == transient_vm_qemu_pid(vm));
    CHECK(info->started > (double)time(NULL) - 600 && info->started < (double)time(NULL) + 2);
    transient_vm_list_free(list);
}

// A forked child can do nothing with a VM, and nothing to it.
static void forked(transient_vm *vm) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(transient_vm_qmp(vm, "{\"execute\": \"quit\"}", NULL, NULL) == TRANSIENT_STATUS_VM_NOT_RUNNING);
        CHECK(transient_vm_wait(vm, 0, NULL, NULL, NULL) == TRANSIENT_STATUS_VM_NOT_RUNNING);
        CHECK_OK(transient_vm_stop(vm, true, NULL, NULL, NULL, NULL, error));
        transient_vm_free(vm);
        raise(SIGKILL); // for valgrind, what the threads had that are not here is lost
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(transient_vm_is_running(vm));
    query(vm);
}

static void without_a_name(const transient_store *store) {
    struct seen seen = {0};
    transient_vm_config *config = config_of("boots");
    transient_vm *vm = run(store, config, &seen);
    CHECK(seen.starting == 1 && seen.finalized == 1);
    CHECK_TEXT(transient_vm_name(vm), seen.name);
    CHECK_TEXT(transient_vm_image(vm), "boots");
    CHECK(transient_vm_is_running(vm) && transient_vm_ssh_port(vm) == 0);
    CHECK(kill((pid_t)transient_vm_qemu_pid(vm), 0) == 0);
    await_serial(vm);
    monitor(vm);
    listed(store, vm);
    forked(vm);
    CHECK(transient_vm_ssh(vm, "true", NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_VM_NOT_RUNNING); // it has no SSH
    bool ended = true;
    CHECK_OK(transient_vm_wait(vm, 0.01, NULL, &ended, error));
    CHECK(!ended);
    transient_cancel_token *cancel = transient_cancel_token_new();
    transient_cancel_token_cancel(cancel);
    CHECK(transient_vm_wait(vm, 0, cancel, NULL, NULL) == TRANSIENT_STATUS_CANCELLED);
    transient_cancel_token_free(cancel);

    seen.finalized = 0;
    CHECK_OK(transient_vm_stop(vm, true, on_event, &seen, on_end, NULL, error));
    CHECK(!transient_vm_is_running(vm) && seen.finalized == 1);
    CHECK(kill((pid_t)transient_vm_qemu_pid(vm), 0) == -1);
    CHECK(transient_vm_qmp(vm, "{\"execute\": \"quit\"}", NULL, NULL) == TRANSIENT_STATUS_VM_NOT_RUNNING);
    CHECK_OK(transient_vm_stop(vm, false, NULL, NULL, NULL, NULL, error));
    await_serial(vm); // what it said is still known
    transient_vm_free(vm);

    // freeing one that runs ends it
    vm = run(store, config, NULL);
    pid_t qemu = (pid_t)transient_vm_qemu_pid(vm);
    transient_vm_free(vm);
    CHECK(kill(qemu, 0) == -1);

    CHECK_OK(transient_vm_config_add_qemu_arg(config, "-no-such-option", error));
    transient_run_options *options = NULL;
    CHECK_OK(transient_run_options_new(config, &options, error));
    transient_error *error = NULL;
    vm = NULL;
    CHECK(transient_vm_run(store, options, NULL, NULL, NULL, NULL, &vm, &error) == TRANSIENT_STATUS_QEMU_FAILED);
    CHECK(vm == NULL && strstr(transient_error_report(error), "no-such-option") != NULL);
    transient_error_free(error);
    transient_run_options_free(options);
    transient_vm_config_free(config);
}

static void *join_console(void *argument) {
    void **joined = argument;
    int *descriptors = joined[1];
    CHECK_OK(transient_vm_console(joined[0], descriptors[0], descriptors[3], NULL, error));
    return NULL;
}

// Joins pipes to the serial console; Ctrl-A x ends QEMU.
static void console(const transient_store *store) {
    transient_vm_config *config = config_of("boots");
    transient_vm *vm = run(store, config, NULL);
    transient_vm_config_free(config);
    CHECK(transient_vm_console(vm, -1, 1, NULL, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    int pipes[4];
    CHECK(pipe(pipes) == 0 && pipe(pipes + 2) == 0);
    void *joined[] = {vm, pipes};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, join_console, joined) == 0);
    await_serial(vm);
    CHECK(write(pipes[1], "\x01x", 2) == 2);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!transient_vm_is_running(vm));
    for (int index = 0; index < 4; index++) close(pipes[index]);
    transient_vm_free(vm);
}

// What the VM store keeps, of a VM that is named.
static void kept(const transient_store *store) {
    transient_vm_config *config = NULL;
    CHECK_OK(transient_store_vm_config(store, "named/vm", &config, error));
    CHECK(transient_vm_config_has_ssh(config) && transient_vm_config_has_ssh_session(config));
    char *command = transient_vm_config_ssh_command(config);
    CHECK_TEXT(command, "hostname");
    transient_string_free(command);
    transient_ssh_options *ssh = NULL;
    CHECK_OK(transient_vm_config_ssh_options(config, &ssh, error));
    transient_ssh_options_free(ssh);
    transient_vm_config_free(config);
    CHECK(transient_store_vm_config(store, "none", &config, NULL) == TRANSIENT_STATUS_VM_NOT_FOUND);
    transient_vm_list *list = NULL;
    CHECK_OK(transient_store_vms(store, &list, error));
    CHECK(transient_vm_list_len(list) == 1);
    const transient_vm_info *info = transient_vm_list_get(list, 0);
    CHECK_TEXT(info->name, "named/vm");
    CHECK(info->stored && info->ssh && !info->running && info->pid == 0 && info->qemu_pid == 0);
    transient_vm_list_free(list);
}

static void with_a_name(const transient_store *store) {
    transient_vm_config *config = config_of("boots");
    CHECK_OK(transient_vm_config_set_name(config, "named/vm", error));
    CHECK_OK(transient_vm_config_set_ssh_command(config, "hostname", error));
    CHECK_OK(transient_vm_config_set_ssh_timeout(config, 1, error));
    char *name = NULL;
    CHECK_OK(transient_vm_create(store, config, NULL, NULL, NULL, NULL, &name, error));
    CHECK_TEXT(name, "named/vm");
    transient_string_free(name);
    CHECK(transient_vm_create(store, config, NULL, NULL, NULL, NULL, NULL, NULL) == TRANSIENT_STATUS_VM_EXISTS);
    transient_vm_config_free(config);
    kept(store);
    const char *names[] = {"named/vm"};
    CHECK(transient_store_stop_vms(store, names, 1, false, NULL) == TRANSIENT_STATUS_VM_NOT_RUNNING);
    CHECK(transient_ssh(store, "named/vm", NULL, "true", NULL, 0, 0, false, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_VM_NOT_RUNNING);

    CHECK_OK(transient_vm_config_new(NULL, &config, error));
    transient_run_options *options = NULL;
    CHECK_OK(transient_run_options_new(config, &options, error));
    transient_vm_config_free(config);
    transient_vm *vm = NULL;
    CHECK_OK(transient_vm_start(store, "named/vm", options, NULL, NULL, NULL, NULL, &vm, error));
    CHECK_TEXT(transient_vm_name(vm), "named/vm");
    CHECK(transient_vm_ssh_port(vm) > 0);
    transient_vm *other = NULL;
    CHECK(transient_vm_start(store, "named/vm", options, NULL, NULL, NULL, NULL, &other, NULL) ==
          TRANSIENT_STATUS_VM_IN_USE);
    CHECK(transient_vm_start(store, "none", options, NULL, NULL, NULL, NULL, &other, NULL) ==
          TRANSIENT_STATUS_VM_NOT_FOUND);
    transient_run_options_free(options);
    CHECK(transient_vm_ssh(vm, NULL, (const uint8_t *)"true", 4, 0, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_TIMEOUT); // nobody answers
    CHECK(transient_commit(store, "named/vm", "new", TRANSIENT_COMPRESSION_NONE, NULL, NULL, NULL, NULL, NULL,
                           NULL) == TRANSIENT_STATUS_VM_IN_USE);
    CHECK(transient_store_remove_vms(store, names, 1, false, NULL) == TRANSIENT_STATUS_VM_IN_USE);
    CHECK_OK(transient_store_stop_vms(store, names, 1, true, error));
    CHECK(!transient_vm_is_running(vm));
    transient_vm_free(vm);

    transient_image *image = NULL;
    CHECK_OK(transient_commit(store, "named/vm", "new", TRANSIENT_COMPRESSION_ZLIB, NULL, NULL, NULL, NULL, &image,
                              error));
    CHECK_TEXT(transient_image_name(image), "new");
    CHECK(transient_image_virtual_size(image) == 1 << 20);
    transient_image_free(image);
    CHECK_OK(transient_store_remove_vms(store, names, 1, false, error));
    CHECK(transient_store_remove_vms(store, names, 1, true, NULL) == TRANSIENT_STATUS_VM_NOT_FOUND);
}

static void copies(const transient_store *store) {
    transient_builder_options *builder = NULL;
    CHECK_OK(transient_builder_options_new(&builder, error));
    CHECK_OK(transient_builder_options_set_accelerator(builder, TRANSIENT_ACCELERATOR_TCG, error));
    CHECK(transient_builder_options_set_cpus(builder, 256, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    transient_copy_options *options = NULL;
    CHECK_OK(transient_copy_options_new(&options, error));
    CHECK_OK(transient_copy_options_set_builder(options, builder, error));
    transient_builder_options_free(builder);
    CHECK_OK(transient_copy_options_add_into(options, "here", "/there", error));
    CHECK_OK(transient_copy_options_add_out(options, "/there", "here", error));
    CHECK(transient_copy_options_add_into(options, "/here", "there", NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(transient_copy_options_add_out(options, "there", "/here", NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(transient_copy(store, "none", options, NULL, NULL, NULL, NULL, NULL) == TRANSIENT_STATUS_VM_NOT_FOUND);
    transient_copy_options_free(options);
}

static void config_file(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/config.toml", folder);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fprintf(file, "image = \"boots\"\nssh-command = \"true\"\nvmstore = \"/vms\"\ncopy-in-before = [\"a:/b\"]\n");
    CHECK(fclose(file) == 0);
    transient_config_file *read = NULL;
    CHECK_OK(transient_config_file_read(path, &read, error));
    CHECK_TEXT(transient_config_file_vmstore(read), "/vms");
    CHECK(transient_config_file_backend(read) == NULL);
    transient_vm_config *config = NULL;
    CHECK_OK(transient_config_file_vm_config(read, &config, error));
    transient_run_options *options = NULL;
    CHECK_OK(transient_config_file_run_options(read, &options, error));
    transient_config_file_free(read);
    transient_vm_config *over = NULL;
    CHECK_OK(transient_vm_config_new("other", &over, error));
    CHECK_OK(transient_vm_config_set_ssh_command(over, "false", error));
    CHECK_OK(transient_vm_config_merge(config, over, error));
    transient_vm_config_free(over);
    char *command = transient_vm_config_ssh_command(config);
    CHECK_TEXT(command, "false");
    transient_string_free(command);
    CHECK_OK(transient_run_options_set_config(options, config, error));
    CHECK(transient_vm_config_add_shared_folder(config, "/tmp", "here", true, NULL) ==
          TRANSIENT_STATUS_INVALID_ARGUMENT);
    transient_run_options_free(options);
    transient_vm_config_free(config);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs("image = 1\nnothing = 2\n", file) >= 0 && fclose(file) == 0);
    transient_error *error = NULL;
    CHECK(transient_config_file_read(path, &read, &error) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(transient_error_message(error), "[line 2]") != NULL);
    transient_error_free(error);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below(argv[1], &locations, error));
    transient_store *store = NULL;
    CHECK_OK(transient_store_new(locations, &store, error));
    transient_locations_free(locations);
    without_a_name(store);
    console(store);
    with_a_name(store);
    copies(store);
    config_file(argv[1]);
    transient_vm_list *list = NULL;
    CHECK_OK(transient_store_vms(store, &list, error));
    CHECK(transient_vm_list_len(list) == 0);
    transient_vm_list_free(list);
    transient_store_free(store);
    return 0;
}
