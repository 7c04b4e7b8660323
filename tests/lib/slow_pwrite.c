/* Loaded into a target (LD_PRELOAD): the next pwrite(2) at NBDGW_SLOW_OFFSET waits inside the call, as on a disk that
 * takes its time. It is armed by the file NBDGW_SLOW_FILE: the write that finds it renames it to FILE.taken and goes on
 * when that is removed; FILE.done is there once it has been written. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*pwrite_call)(int, const void *, size_t, off64_t);

enum { POLL_US = 1000 };

static ssize_t slow(const char *name, int fd, const void *data, size_t length, off64_t offset) {
  pwrite_call real = (pwrite_call)dlsym(RTLD_NEXT, name);
  const char *file = getenv("NBDGW_SLOW_FILE");
  const char *where = getenv("NBDGW_SLOW_OFFSET");
  char taken[4096];
  char done[4096];
  if (file == NULL || where == NULL || offset != atoll(where)) return real(fd, data, length, offset);
  snprintf(taken, sizeof taken, "%s.taken", file);
  snprintf(done, sizeof done, "%s.done", file);
  if (rename(file, taken) != 0) return real(fd, data, length, offset);
  while (access(taken, F_OK) == 0) usleep(POLL_US);
  const ssize_t written = real(fd, data, length, offset);
  const int mark = open(done, O_CREAT | O_WRONLY, 0644);
  if (mark >= 0) close(mark);
  return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return slow("pwrite", fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  return slow("pwrite64", fd, data, length, offset);
}
