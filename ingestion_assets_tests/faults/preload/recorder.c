/* Preloaded into a server: logs what it does to the files and folders below $RECORDER_ROOT, in the order in which it was done.

   Each record is appended to $RECORDER_LOG by one write, after the operation and before the server goes on: so whatever the
   server tells a client comes later in the log than what it did for it, if the client notes it there too. A sync says up to
   which byte the log had come when it began: what was logged by then is covered by it. What goes past the C library (io_uring,
   writable mappings, sendfile) is not seen: none of the servers writes its data that way. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTE, CREATE, WRITE, SYNC, TRUNCATE, ALLOCATE, RENAME, UNLINK, MKDIR, RMDIR, LINK, SYNC_FOLDER };
enum { WATCHED = 1, DURABLE = 2, STREAM = 4 };
#define DESCRIPTORS 65536

struct header { uint32_t length; uint8_t kind, flags; uint16_t name; uint64_t file, at, size; };

static int log_fd = -1;
static const char *root;
static size_t root_length;
static unsigned char marks[DESCRIPTORS];

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("RECORDER_LOG");
  root = getenv("RECORDER_ROOT");
  if (!path || !root) return;
  root = strdup(root); /* servers write their titles over the environment */
  root_length = strlen(root);
  int fd = (int)((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) { perror("the recorder's log"); abort(); }
  log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 200);
  if (log_fd < 0) abort();
  ((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
}

static void note(int kind, int flags, uint64_t file, uint64_t at, uint64_t size, const char *name, const void *rest, size_t length) {
  int before = errno;
  size_t named = name ? strlen(name) : 0;
  struct header header = { sizeof header + named + length, kind, flags, named, file, at, size };
  struct iovec parts[3] = { { &header, sizeof header }, { (void *)name, named }, { (void *)rest, length } };
  static ssize_t (*append)(int, const struct iovec *, int);
  if (!append) append = dlsym(RTLD_NEXT, "writev");
  if (append(log_fd, parts, 3) != (ssize_t)header.length) { perror("the recorder's log"); abort(); }
  errno = before;
}

static uint64_t position(void) { struct stat status; return fstat(log_fd, &status) ? 0 : (uint64_t)status.st_size; }

/* The absolute path, if it lies below the root. */
static int below(int folder, const char *path, char *absolute) {
  static const char here[] = "/proc/self/cwd/"; /* how PostgreSQL names its folder where it may not walk there */
  if (log_fd < 0 || !path) return 0;
  if (!strncmp(path, here, sizeof here - 1)) path += sizeof here - 1;
  if (path[0] == '/') snprintf(absolute, PATH_MAX, "%s", path);
  else {
    char link[64], base[PATH_MAX];
    ssize_t length;
    if (folder == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
    else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      if ((length = readlink(link, base, sizeof base - 1)) < 0) return 0;
      base[length] = 0;
    }
    if (snprintf(absolute, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
  }
  return !strncmp(absolute, root, root_length) && (absolute[root_length] == '/' || !absolute[root_length]);
}

static int watched(int fd, struct stat *status) {
  int before = errno;
  int is = log_fd >= 0 && fd >= 0 && fd < DESCRIPTORS && marks[fd] && !fstat(fd, status) && S_ISREG(status->st_mode);
  errno = before;
  return is;
}

static void opened(int fd, const char *absolute, int flags, int existed, int stream) {
  struct stat status;
  if (fd < 0 || fd >= DESCRIPTORS) return;
  marks[fd] = 0;
  if (!absolute || fstat(fd, &status) || !S_ISREG(status.st_mode)) return;
  marks[fd] = WATCHED | (flags & O_DSYNC ? DURABLE : 0) | stream;
  if (!existed) note(CREATE, 0, status.st_ino, 0, 0, absolute, NULL, 0);
  else if (flags & O_TRUNC) note(TRUNCATE, 0, status.st_ino, 0, 0, NULL, NULL, 0);
}

#define OPEN(name, parameters, folder, call) \
  int name parameters { \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    REAL(name); char absolute[PATH_MAX]; struct stat status; \
    int ours = below(folder, path, absolute), existed = ours && !fstatat(folder, path, &status, 0); \
    int fd = call; \
    int before = errno; opened(fd, ours ? absolute : NULL, flags, existed, 0); errno = before; \
    return fd; }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, real(path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, real(path, flags, mode))
OPEN(openat, (int folder, const char *path, int flags, ...), folder, real(folder, path, flags, mode))
OPEN(openat64, (int folder, const char *path, int flags, ...), folder, real(folder, path, flags, mode))

#define STREAM_OPEN(name) \
  FILE *name(const char *path, const char *mode) { \
    REAL(name); char absolute[PATH_MAX]; struct stat status; \
    int ours = below(AT_FDCWD, path, absolute), existed = ours && !stat(path, &status); \
    FILE *file = real(path, mode); \
    int before = errno; \
    if (file) opened(fileno(file), ours && mode[0] != 'r' ? absolute : NULL, mode[0] == 'w' ? O_TRUNC : 0, existed, STREAM); \
    errno = before; return file; }
STREAM_OPEN(fopen)
STREAM_OPEN(fopen64)

/* A stream is written by the C library itself: its whole content is logged when it is synced or closed. */
static void stream_content(int fd, uint64_t file) {
  char link[64], buffer[65536];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int again = ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(link, O_RDONLY | O_CLOEXEC);
  if (again < 0) return;
  off_t at = 0;
  ssize_t length;
  while ((length = pread(again, buffer, sizeof buffer, at)) > 0) { note(WRITE, 0, file, at, length, NULL, buffer, length); at += length; }
  ((int (*)(int))dlsym(RTLD_NEXT, "close"))(again);
}

int fclose(FILE *file) {
  REAL(fclose);
  struct stat status;
  int fd = fileno(file), before = errno;
  if (watched(fd, &status) && marks[fd] & STREAM) { fflush(file); stream_content(fd, status.st_ino); }
  if (fd >= 0 && fd < DESCRIPTORS) marks[fd] = 0;
  errno = before;
  return real(file);
}

int close(int fd) { REAL(close); if (fd >= 0 && fd < DESCRIPTORS) marks[fd] = 0; return real(fd); }
static int copied(int from, int to) { if (from >= 0 && from < DESCRIPTORS && to >= 0 && to < DESCRIPTORS) marks[to] = marks[from]; return to; }
int dup(int fd) { REAL(dup); return copied(fd, real(fd)); }
int dup2(int fd, int to) { REAL(dup2); return copied(fd, real(fd, to)); }
int dup3(int fd, int to, int flags) { REAL(dup3); return copied(fd, real(fd, to, flags)); }

static void wrote(int fd, off_t at, const void *bytes, ssize_t length) {
  struct stat status;
  if (length > 0 && watched(fd, &status)) note(WRITE, marks[fd] & DURABLE, status.st_ino, at, length, NULL, bytes, length);
}
static int marked(int fd) { return log_fd >= 0 && fd >= 0 && fd < DESCRIPTORS && marks[fd]; }
ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write);
  ssize_t done = real(fd, bytes, length);
  if (done > 0 && marked(fd)) wrote(fd, lseek(fd, 0, SEEK_CUR) - done, bytes, done);
  return done;
}
#define PWRITE(name) ssize_t name(int fd, const void *bytes, size_t length, off_t at) { \
    REAL(name); ssize_t done = real(fd, bytes, length, at); wrote(fd, at, bytes, done); return done; }
PWRITE(pwrite)
PWRITE(pwrite64)

/* One record for all parts, so that they stay together. */
static void wrote_parts(int fd, off_t at, const struct iovec *parts, int count, ssize_t length) {
  if (length <= 0 || !marked(fd)) return;
  char *whole = malloc(length);
  size_t taken = 0;
  for (int i = 0; i < count && taken < (size_t)length; i++) {
    size_t more = parts[i].iov_len < length - taken ? parts[i].iov_len : length - taken;
    memcpy(whole + taken, parts[i].iov_base, more);
    taken += more;
  }
  wrote(fd, at, whole, length);
  free(whole);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  ssize_t done = real(fd, parts, count);
  if (done > 0 && marked(fd)) wrote_parts(fd, lseek(fd, 0, SEEK_CUR) - done, parts, count, done);
  return done;
}
#define PWRITEV(name) ssize_t name(int fd, const struct iovec *parts, int count, off_t at) { \
    REAL(name); ssize_t done = real(fd, parts, count, at); wrote_parts(fd, at, parts, count, done); return done; }
PWRITEV(pwritev)
PWRITEV(pwritev64)

static int synced(int fd, int (*real)(int)) {
  struct stat status;
  if (log_fd < 0 || fstat(fd, &status)) return real(fd);
  if (S_ISREG(status.st_mode) && fd < DESCRIPTORS && marks[fd] & STREAM) stream_content(fd, status.st_ino);
  uint64_t begun = position();
  int failed = real(fd);
  if (failed) return failed;
  int before = errno;
  if (S_ISREG(status.st_mode) && marked(fd)) note(SYNC, 0, status.st_ino, begun, 0, NULL, NULL, 0);
  else if (S_ISDIR(status.st_mode)) {
    char absolute[PATH_MAX];
    if (below(fd, ".", absolute)) note(SYNC_FOLDER, 0, status.st_ino, begun, 0, absolute, NULL, 0);
  }
  errno = before;
  return failed;
}
int fsync(int fd) { REAL(fsync); return synced(fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real); }

#define FTRUNCATE(name) int name(int fd, off_t size) { \
    REAL(name); struct stat status; int failed = real(fd, size); \
    if (!failed && watched(fd, &status)) note(TRUNCATE, 0, status.st_ino, 0, size, NULL, NULL, 0); \
    return failed; }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)
#define TRUNCATE_PATH(name) int name(const char *path, off_t size) { \
    REAL(name); struct stat status; char absolute[PATH_MAX]; int failed = real(path, size); \
    if (!failed && below(AT_FDCWD, path, absolute) && !stat(path, &status)) note(TRUNCATE, 0, status.st_ino, 0, size, NULL, NULL, 0); \
    return failed; }
TRUNCATE_PATH(truncate)
TRUNCATE_PATH(truncate64)

static void allocated(int fd, off_t end) { struct stat status; if (watched(fd, &status)) note(ALLOCATE, 0, status.st_ino, 0, end, NULL, NULL, 0); }
#define FALLOCATE(name) int name(int fd, int mode, off_t at, off_t length) { \
    REAL(name); int failed = real(fd, mode, at, length); if (!failed && !mode) allocated(fd, at + length); return failed; }
FALLOCATE(fallocate)
FALLOCATE(fallocate64)
#define POSIX_FALLOCATE(name) int name(int fd, off_t at, off_t length) { \
    REAL(name); int failed = real(fd, at, length); if (!failed) allocated(fd, at + length); return failed; }
POSIX_FALLOCATE(posix_fallocate)
POSIX_FALLOCATE(posix_fallocate64)

static void named(int kind, int folder, const char *path, int other_folder, const char *other) {
  char absolute[PATH_MAX], second[PATH_MAX];
  int before = errno, ours = below(folder, path, absolute);
  if (other) { if (below(other_folder, other, second) || ours) note(kind, 0, 0, 0, 0, absolute, second, strlen(second)); }
  else if (ours) note(kind, 0, 0, 0, 0, absolute, NULL, 0);
  errno = before;
}
int rename(const char *from, const char *to) {
  REAL(rename); int failed = real(from, to); if (!failed) named(RENAME, AT_FDCWD, from, AT_FDCWD, to); return failed; }
int renameat(int folder, const char *from, int other, const char *to) {
  REAL(renameat); int failed = real(folder, from, other, to); if (!failed) named(RENAME, folder, from, other, to); return failed; }
int link(const char *from, const char *to) {
  REAL(link); int failed = real(from, to); if (!failed) named(LINK, AT_FDCWD, from, AT_FDCWD, to); return failed; }
int unlink(const char *path) { REAL(unlink); int failed = real(path); if (!failed) named(UNLINK, AT_FDCWD, path, 0, NULL); return failed; }
int remove(const char *path) {
  struct stat status; int is_folder = !lstat(path, &status) && S_ISDIR(status.st_mode);
  REAL(remove); int failed = real(path); if (!failed) named(is_folder ? RMDIR : UNLINK, AT_FDCWD, path, 0, NULL); return failed; }
int unlinkat(int folder, const char *path, int flags) {
  REAL(unlinkat); int failed = real(folder, path, flags);
  if (!failed) named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, path, 0, NULL);
  return failed; }
int rmdir(const char *path) { REAL(rmdir); int failed = real(path); if (!failed) named(RMDIR, AT_FDCWD, path, 0, NULL); return failed; }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); int failed = real(path, mode); if (!failed) named(MKDIR, AT_FDCWD, path, 0, NULL); return failed; }
int mkdirat(int folder, const char *path, mode_t mode) {
  REAL(mkdirat); int failed = real(folder, path, mode); if (!failed) named(MKDIR, folder, path, 0, NULL); return failed; }
