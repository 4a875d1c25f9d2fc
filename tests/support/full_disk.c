/* A disk that is full while a file is there: loaded before the C library, it refuses what would take room in a folder,
   as the kernel does. FULL_DISK_FLAG names the file, FULL_DISK_FOLDER the folder. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int fd)
{
    const char *flag = getenv("FULL_DISK_FLAG"), *folder = getenv("FULL_DISK_FOLDER");
    char link[64], path[PATH_MAX];
    ssize_t length;

    if (!flag || !folder || access(flag, F_OK) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = '\0';
    return strncmp(path, folder, strlen(folder)) == 0;
}

#define REFUSING(result, name, parameters, arguments)                     \
    result name parameters                                                \
    {                                                                     \
        static result(*real) parameters;                                  \
        if (is_full(fd)) {                                                \
            errno = ENOSPC;                                               \
            return -1;                                                    \
        }                                                                 \
        if (!real)                                                        \
            real = (result(*) parameters)dlsym(RTLD_NEXT, #name);         \
        return real arguments;                                            \
    }

REFUSING(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
REFUSING(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
REFUSING(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
REFUSING(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
REFUSING(int, posix_fallocate64, (int fd, off64_t at, off64_t size), (fd, at, size))
REFUSING(int, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size))
REFUSING(int, ftruncate64, (int fd, off64_t size), (fd, size))
