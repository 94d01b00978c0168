// Builds an image and shows what happens. Usage: build DIRECTORY NAME

#include <transient.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

// A handle that is freed once.
template <auto Free> struct Deleter {
    template <typename Handle> void operator()(Handle *handle) const { Free(handle); }
};
using Store = std::unique_ptr<transient_store, Deleter<transient_store_free>>;
using BuildOptions = std::unique_ptr<transient_build_options, Deleter<transient_build_options_free>>;
using Image = std::unique_ptr<transient_image, Deleter<transient_image_free>>;
using Error = std::unique_ptr<transient_error, Deleter<transient_error_free>>;

// Makes an exception of an error.
void check(transient_status status, transient_error *raw) {
    Error error(raw);
    if (status != TRANSIENT_STATUS_OK) throw std::runtime_error(transient_error_report(error.get()));
}

// An exception must not leave a callback: C and Rust know nothing of it.
void on_event(void *, const transient_event *event) noexcept {
    if (event->kind == TRANSIENT_EVENT_KIND_STEP_STARTED) {
        std::cout << event->data.step_started.instruction << std::endl;
    } else if (event->kind == TRANSIENT_EVENT_KIND_OUTPUT) {
        std::cout.write(reinterpret_cast<const char *>(event->data.output.data),
                        static_cast<std::streamsize>(event->data.output.len));
    }
}

Image build(const std::string &directory, const std::string &name) {
    transient_error *error = nullptr;
    transient_store *store = nullptr;
    check(transient_store_new(nullptr, &store, &error), error);
    Store owned_store(store);
    transient_build_options *options = nullptr;
    check(transient_build_options_new(directory.c_str(), name.c_str(), &options, &error), error);
    BuildOptions owned_options(options);
    transient_image *image = nullptr;
    check(transient_build(store, options, on_event, nullptr, nullptr, nullptr, &image, &error), error);
    return Image(image);
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::cerr << "usage: " << argv[0] << " DIRECTORY NAME\n";
        return 2;
    }
    try {
        std::cout << transient_image_path(build(argv[1], argv[2]).get()) << std::endl;
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << std::endl;
        return 1;
    }
    return 0;
}
