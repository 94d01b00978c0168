// Builds a real image, and ends builds in each way. Usage: build FOLDER DIRECTORY
// Everything is kept below the folder; the directory has an Imagefile, `Failing`, whose RUN prints and ends with 3,
// and `Sleeping`, whose RUN does not end. TRANSIENT_APPLIANCE names the appliance.

#include <pthread.h>
#include <unistd.h>

#include "check.h"

struct seen {
    int kinds[16];
    int finalized;
    char output[256];
    pthread_t thread;
    transient_cancel_token *cancel_at_output;
};

static void on_event(void *user_data, const transient_event *event) {
    struct seen *seen = user_data;
    CHECK(event->kind < 16 && seen->finalized == 0 && pthread_equal(seen->thread, pthread_self()));
    seen->kinds[event->kind]++;
    switch (event->kind) {
    case TRANSIENT_EVENT_KIND_STEP_STARTED:
        CHECK(event->data.step_started.step >= 1);
        CHECK(event->data.step_started.step <= event->data.step_started.steps);
        CHECK(event->data.step_started.instruction != NULL && event->data.step_started.line >= 1);
        break;
    case TRANSIENT_EVENT_KIND_EXPLANATION:
        CHECK(event->data.explanation.step >= 1 && event->data.explanation.differences_len == 0);
        CHECK(strstr(event->data.explanation.reason, "no earlier build of 'whole'") != NULL);
        break;
    case TRANSIENT_EVENT_KIND_OUTPUT:
        CHECK(event->data.output.len < sizeof seen->output - strlen(seen->output));
        strncat(seen->output, (const char *)event->data.output.data, event->data.output.len);
        transient_cancel_token_cancel(seen->cancel_at_output);
        break;
    case TRANSIENT_EVENT_KIND_PROGRESS:
        CHECK(event->data.progress.task != NULL);
        break;
    case TRANSIENT_EVENT_KIND_BUILD_FINISHED:
        CHECK(transient_image_virtual_size(event->data.build_finished.image) > 0);
        break;
    default:
        break;
    }
}

static void on_end(void *user_data) { ((struct seen *)user_data)->finalized++; }

static transient_build_options *options_for(const char *directory, const char *name, const char *file) {
    transient_build_options *options = NULL;
    CHECK_OK(transient_build_options_new(directory, name, &options, error));
    if (file != NULL) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", directory, file);
        CHECK_OK(transient_build_options_set_file(options, path, error));
    }
    CHECK_OK(transient_build_options_set_memory(options, 512 << 20, error));
    CHECK_OK(transient_build_options_set_cpus(options, 1, error));
    CHECK_OK(transient_build_options_set_accelerator(options, TRANSIENT_ACCELERATOR_TCG, error));
    CHECK_OK(transient_build_options_set_network(options, TRANSIENT_NETWORK_NONE, error));
    CHECK_OK(transient_build_options_set_warm_start(options, true, error));
    CHECK_OK(transient_build_options_set_qemu(options, "qemu-system-x86_64", error));
    CHECK_OK(transient_build_options_set_qmp_timeout(options, 60, error));
    CHECK_OK(transient_build_options_set_ssh_timeout(options, 500.5, error));
    CHECK_OK(transient_build_options_set_local(options, false, error));
    return options;
}

static void whole(const transient_store *store, const char *directory) {
    struct seen seen = {.thread = pthread_self()};
    transient_build_options *options = options_for(directory, "whole", NULL);
    transient_image *image = NULL;
    CHECK_OK(transient_build_options_set_no_cache_from(options, 999, error));
    CHECK(transient_build(store, options, NULL, NULL, NULL, NULL, NULL, NULL) ==
          TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK_OK(transient_build_options_set_no_cache_from(options, 0, error));
    CHECK_OK(transient_build_options_set_explain(options, true, error));
    CHECK_OK(transient_build(store, options, on_event, &seen, on_end, NULL, &image, error));
    CHECK_TEXT(transient_image_name(image), "whole");
    CHECK(access(transient_image_path(image), R_OK) == 0);
    CHECK(seen.finalized == 1);
    CHECK(seen.kinds[TRANSIENT_EVENT_KIND_BUILDER_STARTED] == 1);
    CHECK(seen.kinds[TRANSIENT_EVENT_KIND_STEP_STARTED] == seen.kinds[TRANSIENT_EVENT_KIND_STEP_FINISHED]);
    CHECK(seen.kinds[TRANSIENT_EVENT_KIND_BUILD_FINISHED] == 1);
    CHECK(seen.kinds[TRANSIENT_EVENT_KIND_EXPLANATION] == 1);
    CHECK_TEXT(seen.output, "hello\n");
    transient_image_free(image);

    CHECK_OK(transient_build_options_set_compress(options, TRANSIENT_COMPRESSION_ZSTD, error));
    CHECK_OK(transient_build(store, options, NULL, NULL, NULL, NULL, NULL, error));
    transient_inspection *inspection = NULL;
    CHECK_OK(transient_store_inspect(store, "whole", &inspection, error));
    CHECK_TEXT(transient_inspection_details(inspection)->compression, "zstd");
    transient_inspection_free(inspection);
    CHECK(transient_build_options_set_compress(options, 3, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    transient_build_options_free(options);
}

static void failing(const transient_store *store, const char *directory) {
    struct seen seen = {.thread = pthread_self()};
    transient_build_options *options = options_for(directory, "failing", "Failing");
    // a shell needs a terminal, and what is kept a name of its own
    CHECK_OK(transient_build_options_set_on_failure(options, TRANSIENT_ON_FAILURE_SHELL, error));
    CHECK(transient_build(store, options, NULL, NULL, NULL, NULL, NULL, NULL) == TRANSIENT_STATUS_NOT_A_TERMINAL);
    CHECK(transient_build_options_set_on_failure(options, 7, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK_OK(transient_build_options_set_on_failure(options, TRANSIENT_ON_FAILURE_STOP, error));
    CHECK_OK(transient_build_options_set_keep_failed(options, "failing", error));
    CHECK(transient_build(store, options, NULL, NULL, NULL, NULL, NULL, NULL) == TRANSIENT_STATUS_INVALID_ARGUMENT);
    CHECK_OK(transient_build_options_set_keep_failed(options, NULL, error));
    CHECK_OK(transient_build_options_set_keep_failed(options, "kept", error));
    transient_error *error = NULL;
    transient_status status = transient_build(store, options, on_event, &seen, on_end, NULL, NULL, &error);
    CHECK(status == TRANSIENT_STATUS_COMMAND_FAILED && seen.finalized == 1);
    uint32_t exit_status = 0;
    CHECK(transient_error_exit_status(error, &exit_status) && exit_status == 3);
    size_t length = 0;
    CHECK(strstr(transient_error_output(error, &length), "goodbye") != NULL && length >= 7);
    CHECK(strstr(transient_error_step(error), "RUN") != NULL && transient_error_line(error) == 2);
    CHECK(strstr(transient_error_hint(error, 0), "the image 'kept' is the state before this step") != NULL);
    transient_error_free(error);
    transient_image *kept = NULL;
    CHECK_OK(transient_store_image(store, "kept", &kept, error));
    transient_image_free(kept);
    CHECK(transient_store_image(store, "failing", &(transient_image *){NULL}, NULL) ==
          TRANSIENT_STATUS_IMAGE_NOT_FOUND);
    transient_build_options_free(options);
}

static void *cancel_soon(void *token) {
    usleep(700 * 1000);
    transient_cancel_token_cancel(token);
    return NULL;
}

static void cancelled(const transient_store *store, const char *directory) {
    transient_build_options *options = options_for(directory, "cancelled", "Sleeping");
    transient_cancel_token *before = transient_cancel_token_new();
    transient_cancel_token_cancel(before);
    CHECK(transient_cancel_token_is_cancelled(before));
    struct seen seen = {.thread = pthread_self()};
    transient_status status = transient_build(store, options, on_event, &seen, on_end, before, NULL, NULL);
    CHECK(status == TRANSIENT_STATUS_CANCELLED && seen.finalized == 1);
    transient_cancel_token_free(before);

    // by another thread, while the VM boots
    transient_cancel_token *during = transient_cancel_token_new();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, cancel_soon, during) == 0);
    status = transient_build(store, options, NULL, NULL, NULL, during, NULL, NULL);
    CHECK(status == TRANSIENT_STATUS_CANCELLED);
    CHECK(pthread_join(thread, NULL) == 0);
    transient_cancel_token_cancel(during); // after
    transient_cancel_token_free(during);

    // by the callback, while the command runs
    transient_cancel_token *output = transient_cancel_token_new();
    struct seen again = {.thread = pthread_self(), .cancel_at_output = output};
    status = transient_build(store, options, on_event, &again, on_end, output, NULL, NULL);
    CHECK(status == TRANSIENT_STATUS_CANCELLED && again.finalized == 1);
    CHECK_TEXT(again.output, "started\n");
    transient_cancel_token_free(output);
    transient_build_options_free(options);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below(argv[1], &locations, error));
    CHECK_OK(transient_locations_set_appliance(locations, getenv("TRANSIENT_APPLIANCE"), error));
    transient_appliance *appliance = NULL;
    CHECK_OK(transient_appliance_find(locations, &appliance, error));
    CHECK(transient_appliance_is_current(appliance));
    CHECK(access(transient_appliance_kernel(appliance), R_OK) == 0);
    CHECK(transient_appliance_files_len(appliance) > 10);
    CHECK(transient_appliance_file(appliance, 0)->path != NULL);
    transient_appliance_free(appliance);
    transient_store *store = NULL;
    CHECK_OK(transient_store_new(locations, &store, error));
    transient_locations_free(locations);
    whole(store, argv[2]);
    failing(store, argv[2]);
    cancelled(store, argv[2]);
    transient_store_free(store);
    return 0;
}
