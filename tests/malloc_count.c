/* Counts every call of the C allocator, in a file that the test maps too. Preloaded into the server; Rust's default
 * allocator and aws-lc both end here. Built by tests/counts.rs: cc -shared -fPIC -O2.
 *
 * The real work is done by glibc's own names, so there is no dlsym, which would allocate while it looks them up. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { MALLOC, CALLOC, REALLOC, FREE, POSIX_MEMALIGN, ALIGNED_ALLOC, KINDS };

/* Calls before the constructor has run are counted here and forgotten. */
static _Atomic unsigned long early[KINDS];
static _Atomic unsigned long *_Atomic counts = early;

static void count(int kind) { atomic_fetch_add(&counts[kind], 1); }

__attribute__((constructor)) static void map_counts(void) {
    const char *path = getenv("MALLOC_COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof early, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) counts = mapped;
}

void *malloc(size_t size) {
    count(MALLOC);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count(CALLOC);
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    count(REALLOC);
    return __libc_realloc(old, size);
}

void free(void *old) {
    if (old) count(FREE);
    __libc_free(old);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    count(POSIX_MEMALIGN);
    if (alignment % sizeof(void *) || (alignment & (alignment - 1)) || !alignment) return EINVAL;
    void *memory = __libc_memalign(alignment, size);
    if (!memory) return ENOMEM;
    *out = memory;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t size) {
    count(ALIGNED_ALLOC);
    return __libc_memalign(alignment, size);
}
