// Builds an image and shows what happens. Usage: build DIRECTORY NAME

#include <stdio.h>

#include <transient.h>

static void on_event(void *user_data, const transient_event *event) {
    (void)user_data;
    switch (event->kind) {
    case TRANSIENT_EVENT_KIND_STEP_STARTED:
        printf("[%zu/%zu] %s\n", event->data.step_started.step, event->data.step_started.steps,
               event->data.step_started.instruction);
        break;
    case TRANSIENT_EVENT_KIND_OUTPUT:
        fwrite(event->data.output.data, 1, event->data.output.len, stdout);
        break;
    default: // later releases may have more kinds
        break;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s DIRECTORY NAME\n", argv[0]);
        return 2;
    }
    transient_error *error = NULL;
    transient_store *store = NULL;
    transient_build_options *options = NULL;
    transient_image *image = NULL;
    // NULL: the locations of the environment
    transient_status status = transient_store_new(NULL, &store, &error);
    if (status == TRANSIENT_STATUS_OK) {
        status = transient_build_options_new(argv[1], argv[2], &options, &error);
    }
    if (status == TRANSIENT_STATUS_OK) {
        status = transient_build(store, options, on_event, NULL, NULL, NULL, &image, &error);
    }
    if (status == TRANSIENT_STATUS_OK) {
        printf("%s\n", transient_image_path(image));
    } else {
        fprintf(stderr, "error: %s\n", transient_error_report(error));
    }
    transient_image_free(image);
    transient_build_options_free(options);
    transient_store_free(store);
    transient_error_free(error);
    return status == TRANSIENT_STATUS_OK ? 0 : 1;
}
