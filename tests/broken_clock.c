/* A clock that fails once in a shard's thread after signal 40, so that the shard panics. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static atomic_int broken;
static __thread int is_shard;
static int (*real_clock)(clockid_t, struct timespec *);
static int (*real_name)(pthread_t, const char *);

static void on_signal(int number) {
    (void)number;
    atomic_store(&broken, 1);
}

__attribute__((constructor)) static void begin(void) {
    real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_name = (int (*)(pthread_t, const char *))dlsym(RTLD_NEXT, "pthread_setname_np");
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(40, &action, NULL);
}

/* A thread names itself. */
int pthread_setname_np(pthread_t thread, const char *name) {
    is_shard = strncmp(name, "sitar-", 6) == 0 && name[6] >= '0' && name[6] <= '9';
    return real_name(thread, name);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int is_broken = 1;
    if (is_shard && atomic_compare_exchange_strong(&broken, &is_broken, 0)) {
        errno = EINVAL;
        return -1;
    }
    return real_clock(clock, time);
}
