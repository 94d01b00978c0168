// Boots an image, runs a command in it by SSH, and prints what that writes. Usage: run IMAGE COMMAND
// Nothing is kept. The exit status is that of the command.

#include <stdio.h>

#include <transient.h>

static void on_event(void *user_data, const transient_event *event) {
    (void)user_data;
    if (event->kind == TRANSIENT_EVENT_KIND_OUTPUT) {
        FILE *stream = event->data.output.stream == TRANSIENT_STREAM_STDERR ? stderr : stdout;
        fwrite(event->data.output.data, 1, event->data.output.len, stream);
    }
}

// Starts the VM; returns when QEMU runs, and does not wait for the guest.
static transient_status start(const transient_store *store, const char *image, transient_vm **vm,
                              transient_error **error) {
    transient_vm_config *config = NULL;
    transient_run_options *options = NULL;
    transient_status status = transient_vm_config_new(image, &config, error);
    if (status == TRANSIENT_STATUS_OK) status = transient_vm_config_set_ssh(config, true, error);
    if (status == TRANSIENT_STATUS_OK) status = transient_vm_config_set_memory(config, UINT64_C(1) << 30, error);
    if (status == TRANSIENT_STATUS_OK) status = transient_run_options_new(config, &options, error);
    if (status == TRANSIENT_STATUS_OK) {
        status = transient_vm_run(store, options, NULL, NULL, NULL, NULL, vm, error);
    }
    transient_run_options_free(options);
    transient_vm_config_free(config);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s IMAGE COMMAND\n", argv[0]);
        return 2;
    }
    transient_error *error = NULL;
    transient_store *store = NULL;
    transient_vm *vm = NULL;
    uint32_t exit_status = 1;
    // NULL: the locations of the environment
    transient_status status = transient_store_new(NULL, &store, &error);
    if (status == TRANSIENT_STATUS_OK) status = start(store, argv[1], &vm, &error);
    if (status == TRANSIENT_STATUS_OK) {
        // it waits until the guest accepts SSH
        status = transient_vm_ssh(vm, argv[2], NULL, 0, 0, on_event, NULL, NULL, NULL, &exit_status, &error);
    }
    if (status != TRANSIENT_STATUS_OK) fprintf(stderr, "error: %s\n", transient_error_report(error));
    transient_vm_free(vm); // the guest shuts down
    transient_store_free(store);
    transient_error_free(error);
    return (int)exit_status;
}
