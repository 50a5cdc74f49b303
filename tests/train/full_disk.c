/* Makes the n-th write below a folder fail, and all after it if asked to: what a full disk does to a program.
   Built and preloaded by full_disk.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long at = -1, count = 0;
static int code = ENOSPC, lasting = 1;

void fault_set(const char *path, long n, int error, int stays) {
    strncpy(folder, path, sizeof folder - 1);
    at = n;
    count = 0;
    code = error;
    lasting = stays;
}

long fault_count(void) { return count; }

static int below(const char *path) { return folder[0] && path && strncmp(path, folder, strlen(folder)) == 0; }

static int watched(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int fails(void) {
    long now = count++;
    if (at < 0 || (lasting ? now < at : now != at)) return 0;
    errno = code;
    return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (fd > 2 && watched(fd) && fails()) return -1;
    return real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = dlsym(RTLD_NEXT, "writev");
    if (fd > 2 && watched(fd) && fails()) return -1;
    return real(fd, parts, number);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (watched(fd) && fails()) return -1;
    return real(fd);
}

int mkdir(const char *path, mode_t mode) {
    static int (*real)(const char *, mode_t);
    if (!real) real = dlsym(RTLD_NEXT, "mkdir");
    if (below(path) && fails()) return -1;
    return real(path, mode);
}

int rename(const char *old, const char *new) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "rename");
    if (below(new) && fails()) return -1;
    return real(old, new);
}
