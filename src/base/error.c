/* One error record for the process: the first failure stands until it is cleared. */
#include <flipbook/base.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    bool set;
    char message[2048];
    char where[256];
} record = {.lock = PTHREAD_MUTEX_INITIALIZER};

flip_status flip_error_set(flip_status status, const char *function, const char *file, int line,
                           const char *format, ...) {
    pthread_mutex_lock(&record.lock);
    if (!record.set) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(record.message, sizeof record.message, format, arguments);
        va_end(arguments);
        const char *slash = strrchr(file, '/');
        snprintf(record.where, sizeof record.where, "%s (%s:%d)", function,
                 slash ? slash + 1 : file, line);
        record.set = true;
    }
    pthread_mutex_unlock(&record.lock);
    return status;
}

const char *flip_error_message(void) {
    return record.set ? record.message : "";
}

const char *flip_error_where(void) {
    return record.set ? record.where : "";
}

void flip_error_clear(void) {
    pthread_mutex_lock(&record.lock);
    record.set = false;
    pthread_mutex_unlock(&record.lock);
}

int flip_exit_code(flip_status status) {
    switch (status) {
    case FLIP_OK:
        return 0;
    case FLIP_ERROR_USAGE:
        return 2;
    case FLIP_STOPPED:
        return 85;
    default:
        return 1;
    }
}
