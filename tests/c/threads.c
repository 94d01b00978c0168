// Eight threads use one store, one Imagefile and one token at once. Usage: threads FOLDER

#include <pthread.h>

#include "check.h"

static transient_store *store;
static transient_imagefile *imagefile;
static transient_cancel_token *token;

static void *work(void *argument) {
    (void)argument;
    for (int round = 0; round < 50; round++) {
        transient_image_list *list = NULL;
        CHECK_OK(transient_store_images(store, &list, error));
        CHECK(transient_image_list_len(list) == 2);
        transient_image_list_free(list);
        transient_plan *plan = NULL;
        CHECK_OK(transient_plan_new(imagefile, &plan, error));
        transient_plan_free(plan);
        transient_error *error = NULL;
        CHECK(transient_store_image(store, "none", &(transient_image *){NULL}, &error) != TRANSIENT_STATUS_OK);
        transient_error_free(error);
        transient_cancel_token_cancel(token);
        CHECK(transient_cancel_token_is_cancelled(token));
        transient_build_options *options = NULL;
        CHECK_OK(transient_build_options_new("/nowhere", "x", &options, error));
        CHECK(transient_build(store, options, NULL, NULL, NULL, token, NULL, NULL) != TRANSIENT_STATUS_OK);
        transient_build_options_free(options);
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    transient_locations *locations = NULL;
    CHECK_OK(transient_locations_below(argv[1], &locations, error));
    CHECK_OK(transient_store_new(locations, &store, error));
    transient_locations_free(locations);
    static const char TEXT[] = "FROM a\nRUN true\n";
    CHECK_OK(transient_imagefile_parse(NULL, (const uint8_t *)TEXT, strlen(TEXT), &imagefile, error));
    token = transient_cancel_token_new();
    pthread_t threads[8];
    for (int index = 0; index < 8; index++) CHECK(pthread_create(&threads[index], NULL, work, NULL) == 0);
    for (int index = 0; index < 8; index++) CHECK(pthread_join(threads[index], NULL) == 0);
    transient_cancel_token_free(token);
    transient_imagefile_free(imagefile);
    transient_store_free(store);
    return 0;
}
