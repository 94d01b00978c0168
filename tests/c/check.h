// What the test programs share.
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <transient.h>

// Ends the program, saying where, unless the condition holds.
#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#define CHECK_TEXT(text, expected)                                                          \
    do {                                                                                    \
        const char *check_text = (text);                                                    \
        if (check_text == NULL || strcmp(check_text, (expected)) != 0) {                    \
            fprintf(stderr, "%s:%d: %s is '%s', not '%s'\n", __FILE__, __LINE__, #text,     \
                    check_text == NULL ? "(null)" : check_text, (expected));                \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

// Ends the program with the library's report, unless the call went well.
#define CHECK_OK(call)                                                                      \
    do {                                                                                    \
        transient_error *check_error = NULL;                                                \
        transient_error **error = &check_error;                                             \
        if ((call) != TRANSIENT_STATUS_OK) {                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,                              \
                    transient_error_report(check_error));                                   \
            exit(1);                                                                        \
        }                                                                                   \
        CHECK(check_error == NULL);                                                         \
    } while (0)

// Ends the program with the library's report, unless the call failed as it should.
#define CHECK_FAILS(expected, call)                                                         \
    do {                                                                                    \
        transient_error *check_error = NULL;                                                \
        transient_error **error = &check_error;                                             \
        transient_status check_status = (call);                                             \
        if (check_status != (expected)) {                                                   \
            fprintf(stderr, "%s:%d: %u, not %s: %s\n", __FILE__, __LINE__, check_status,     \
                    #expected, check_error == NULL ? "" : transient_error_report(check_error)); \
            exit(1);                                                                        \
        }                                                                                   \
        transient_error_free(check_error);                                                  \
    } while (0)

#endif
