// The header stands alone in C++, also twice in one program, and a program can be linked.

#include <transient.h>
#include <transient.h>

#include <memory>
#include <string>

struct Free {
    void operator()(transient_error *error) const { transient_error_free(error); }
};

int main() {
    transient_image_spec *spec = nullptr;
    transient_error *raw = nullptr;
    transient_status status = transient_image_spec_parse("a,ftp=x", &spec, &raw);
    std::unique_ptr<transient_error, Free> error(raw);
    if (status != TRANSIENT_STATUS_INVALID_IMAGE_NAME || spec != nullptr) return 1;
    return std::string(transient_error_message(error.get())).find("ftp") == std::string::npos;
}
