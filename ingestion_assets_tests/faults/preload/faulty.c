/* Preloaded into a front door: its wall clock is off, and its syncs are slow or fail, as files say; monotonic clocks are left alone.

   $FAULTY_CLOCK holds the seconds by which the clock is off, $FAULTY_SYNCS `<milliseconds> <share>`: how much longer each sync takes
   (fsync, fdatasync, writes to files opened with O_DSYNC), and which share of them fails with EIO. What was written stays written
   then, as it does on a disk. The files are looked at ten times a second. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define LOOK_S 0.1

static int real_clock(clockid_t clock, struct timespec *time) { REAL(clock_gettime); return real(clock, time); }

struct told { const char *variable; double looked, values[2]; };
static struct told clock_told = { "FAULTY_CLOCK", -1, { 0, 0 } }, syncs_told = { "FAULTY_SYNCS", -1, { 0, 0 } };

/* What a file says; read with plain calls, which take no lock and no memory. */
static const double *look(struct told *told) {
  const char *path = getenv(told->variable);
  struct timespec now;
  if (!path) return told->values;
  real_clock(CLOCK_MONOTONIC, &now);
  double at = now.tv_sec + now.tv_nsec / 1e9;
  if (told->looked >= 0 && at - told->looked < LOOK_S) return told->values;
  told->looked = at;
  int before = errno, fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    char text[64];
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length > 0) {
      char *rest;
      text[length] = 0;
      told->values[0] = strtod(text, &rest);
      told->values[1] = strtod(rest, NULL);
    }
  }
  errno = before;
  return told->values;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = real_clock(clock, time);
  if (failed || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
  double off = *look(&clock_told);
  long seconds = (long)off;
  time->tv_sec += seconds;
  time->tv_nsec += (long)((off - seconds) * 1e9);
  if (time->tv_nsec >= 1000000000) { time->tv_nsec -= 1000000000; time->tv_sec++; }
  if (time->tv_nsec < 0) { time->tv_nsec += 1000000000; time->tv_sec--; }
  return 0;
}
int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  struct timespec now;
  (void)zone;
  int failed = clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return failed;
}
time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}

/* Waits; whether this sync fails. */
static int fails(void) {
  static unsigned seed = 1;
  const double *told = look(&syncs_told);
  struct timespec wait = { (long)(told[0] / 1000), (long)(told[0] * 1e6) % 1000000000 };
  if (told[0] > 0) nanosleep(&wait, NULL);
  return told[1] > 0 && rand_r(&seed) / (RAND_MAX + 1.0) < told[1];
}
static int synced(int fd, int (*real)(int)) { if (fails()) { errno = EIO; return -1; } return real(fd); }
int fsync(int fd) { REAL(fsync); return synced(fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real); }
ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write);
  int flags = getenv("FAULTY_SYNCS") ? fcntl(fd, F_GETFL) : 0;
  struct stat status;
  if (flags < 0 || !(flags & O_DSYNC) || fstat(fd, &status) || !S_ISREG(status.st_mode)) return real(fd, bytes, length);
  int failed = fails();
  ssize_t done = real(fd, bytes, length);
  if (failed) { errno = EIO; return -1; }
  return done;
}
