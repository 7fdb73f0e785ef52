/* Calls that Node cannot make, for tests of the mount. Prints what the kernel answered, one fact a line; the exit
 * status is 1 where bytes differ and 2 where the probe itself failed. Usage: see `commands` at the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *errno_name(void) { return strerrorname_np(errno); }

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(2);
}

static int open_or_fail(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0) fail(path);
  return fd;
}

static off_t size_of(int fd) {
  struct stat found;
  if (fstat(fd, &found) != 0) fail("fstat");
  return found.st_size;
}

/* --- same: readers at random places, each read compared with the source ------------------------------------- */

enum { READ_MAX = 384 * 1024, PAGE = 4096 };

static struct {
  int file, source, direct;
  const char *map;
  off_t size;
  unsigned long rounds;
} task;

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void read_fully(int fd, char *into, size_t length, off_t at, const char *what) {
  for (size_t done = 0; done < length;) {
    ssize_t got = pread(fd, into + done, length - done, at + (off_t)done);
    if (got <= 0) {
      fprintf(stderr, "%s: %s at %jd\n", what, got < 0 ? strerror(errno) : "ended", (intmax_t)at + (intmax_t)done);
      exit(2);
    }
    done += (size_t)got;
  }
}

static void *reader(void *seed) {
  uint64_t state = (uint64_t)(uintptr_t)seed;
  char *expected = malloc(READ_MAX), *found = NULL;
  if (expected == NULL || posix_memalign((void **)&found, PAGE, READ_MAX) != 0) fail("malloc");
  for (unsigned long round = 0; round < task.rounds; round++) {
    off_t at = (off_t)(next_random(&state) % (uint64_t)task.size);
    /* Every other read is small, as a file system's own are. */
    size_t length = 1 + next_random(&state) % (round % 2 ? READ_MAX - 1 : PAGE);
    if (task.direct) {
      at &= ~(off_t)(PAGE - 1);
      length = (length + PAGE - 1) & ~(size_t)(PAGE - 1);
    }
    size_t there = (off_t)length > task.size - at ? (size_t)(task.size - at) : length;
    read_fully(task.source, expected, there, at, "source");
    const char *bytes = found;
    if (task.map != NULL) {
      bytes = task.map + at;
    } else if (task.direct) {
      ssize_t got = pread(task.file, found, length, at);
      if (got != (ssize_t)there) {
        fprintf(stderr, "direct read at %jd gave %zd of %zu: %s\n", (intmax_t)at, got, there, strerror(errno));
        exit(2);
      }
    } else {
      read_fully(task.file, found, there, at, "file");
    }
    if (memcmp(bytes, expected, there) != 0) {
      printf("differs in %zu bytes from %jd\n", there, (intmax_t)at);
      exit(1);
    }
  }
  free(found);
  free(expected);
  return NULL;
}

static int same(char **arg) {
  const char *mode = arg[2];
  unsigned long readers = strtoul(arg[4], NULL, 10), seed = strtoul(arg[5], NULL, 10);
  task.direct = strcmp(mode, "direct") == 0;
  task.file = open_or_fail(arg[0], O_RDONLY | (task.direct ? O_DIRECT : 0));
  task.source = open_or_fail(arg[1], O_RDONLY);
  task.size = size_of(task.file);
  task.rounds = strtoul(arg[3], NULL, 10);
  if (task.size != size_of(task.source) || task.size == 0) {
    puts("the sizes differ, or are 0");
    return 1;
  }
  if (strcmp(mode, "mmap") == 0) {
    task.map = mmap(NULL, (size_t)task.size, PROT_READ, MAP_SHARED, task.file, 0);
    if (task.map == MAP_FAILED) fail("mmap");
  }
  pthread_t threads[64];
  if (readers > 64) readers = 64;
  for (unsigned long each = 0; each < readers; each++) {
    uintptr_t own = (uintptr_t)((seed + each + 1) * 0x9E3779B97F4A7C15u);
    if (pthread_create(&threads[each], NULL, reader, (void *)own) != 0) fail("pthread_create");
  }
  for (unsigned long each = 0; each < readers; each++) pthread_join(threads[each], NULL);
  puts("same");
  return 0;
}

/* --- seek: SEEK_DATA and SEEK_HOLE ------------------------------------------------------------------------- */

static int extents(char **arg) {
  int fd = open_or_fail(arg[0], O_RDONLY);
  off_t size = size_of(fd);
  for (off_t at = 0; at < size;) {
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) fail("SEEK_DATA");
    off_t end = lseek(fd, data, SEEK_HOLE);
    if (end < 0) fail("SEEK_HOLE");
    printf("%jd %jd\n", (intmax_t)data, (intmax_t)end);
    at = end;
  }
  return 0;
}

/* Pairs of `data` or `hole` and an offset. */
static int seek(char **arg) {
  int fd = open_or_fail(arg[0], O_RDONLY);
  for (char **pair = arg + 1; pair[0] != NULL && pair[1] != NULL; pair += 2) {
    off_t found = lseek(fd, strtoll(pair[1], NULL, 10), strcmp(pair[0], "data") == 0 ? SEEK_DATA : SEEK_HOLE);
    if (found < 0) puts(errno_name());
    else printf("%jd\n", (intmax_t)found);
  }
  return 0;
}

/* --- resident: how much of a file is in the page cache, which mincore(2) tells its owner --------------------- */

static int resident(char **arg) {
  int fd = open_or_fail(arg[0], O_RDONLY);
  size_t size = (size_t)size_of(fd), pages = (size + PAGE - 1) / PAGE, cached = 0;
  unsigned char *states = malloc(pages);
  void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  if (states == NULL || map == MAP_FAILED || mincore(map, size, states) != 0) fail("mincore");
  for (size_t page = 0; page < pages; page++) cached += states[page] & 1;
  printf("%zu of %zu\n", cached, pages);
  return 0;
}

/* --- xattrs ------------------------------------------------------------------------------------------------ */

static int xattrs(char **arg) {
  char names[4096], value[4096];
  ssize_t length = listxattr(arg[0], names, sizeof names);
  if (length < 0) return puts(errno_name()), 0;
  for (char *name = names; name < names + length; name += strlen(name) + 1) {
    ssize_t got = getxattr(arg[0], name, value, sizeof value);
    if (got < 0) printf("%s: %s\n", name, errno_name());
    else printf("%s=%.*s\n", name, (int)got, value);
  }
  return 0;
}

/* One attribute, with the room that is given for its value. */
static int xattr(char **arg) {
  char value[4096];
  ssize_t got = getxattr(arg[0], arg[1], value, strtoul(arg[2], NULL, 10));
  if (got < 0) puts(errno_name());
  else printf("%zd\n", got);
  return 0;
}

/* --- writes: every call that would change something, on a directory and a file in it ------------------------ */

static void answer(const char *call, long result) { printf("%s %s\n", call, result < 0 ? errno_name() : "done"); }

static int writes(char **arg) {
  const char *dir = arg[0], *file = arg[1], *link_name = arg[2];
  char inside[4096];
  if (snprintf(inside, sizeof inside, "%s/new", dir) >= (int)sizeof inside) return 2;
  answer("open-write", open(file, O_WRONLY));
  answer("open-read-write", open(file, O_RDWR));
  answer("open-append", open(file, O_WRONLY | O_APPEND));
  answer("open-truncate", open(file, O_WRONLY | O_TRUNC));
  answer("open-truncate-reading", open(file, O_RDONLY | O_TRUNC));
  answer("create", open(inside, O_WRONLY | O_CREAT, 0600));
  answer("create-exclusive", open(inside, O_RDWR | O_CREAT | O_EXCL, 0600));
  answer("temporary-file", open(dir, O_RDWR | O_TMPFILE, 0600));
  answer("truncate", truncate(file, 0));
  answer("mkdir", mkdir(inside, 0700));
  answer("rmdir", rmdir(dir));
  answer("unlink", unlink(file));
  answer("unlink-symlink", unlink(link_name));
  answer("rename", rename(file, inside));
  answer("rename-directory", rename(dir, inside));
  answer("rename-exchange", syscall(SYS_renameat2, AT_FDCWD, file, AT_FDCWD, link_name, 2 /* RENAME_EXCHANGE */));
  answer("link", link(file, inside));
  answer("symlink", symlink("target", inside));
  answer("mknod-pipe", mknod(inside, S_IFIFO | 0600, 0));
  answer("mknod-device", mknod(inside, S_IFCHR | 0600, makedev(1, 3)));
  answer("chmod", chmod(file, 0777));
  answer("chown", chown(file, 1, 1));
  answer("lchown", lchown(link_name, 1, 1));
  answer("utimes", utimensat(AT_FDCWD, file, NULL, 0));
  answer("setxattr", setxattr(file, "user.cairn.revision", "x", 1, 0));
  answer("setxattr-new", setxattr(file, "user.other", "x", 1, 0));
  answer("removexattr", removexattr(file, "user.cairn.revision"));
  answer("access-write", access(file, W_OK));
  int fd = open_or_fail(file, O_RDONLY);
  answer("fchmod", fchmod(fd, 0777));
  answer("fchown", fchown(fd, 1, 1));
  answer("futimes", futimens(fd, NULL));
  return 0;
}

/* --- list: a directory through a small buffer, waiting for a line of input after each ----------------------- */

struct dirent64_head {
  uint64_t ino;
  int64_t next;
  unsigned short length;
  unsigned char type;
  char name[];
};

static int list(char **arg) {
  char batch[2048], line[16];
  int fd = open_or_fail(arg[0], O_RDONLY | O_DIRECTORY);
  for (;;) {
    long got = syscall(SYS_getdents64, fd, batch, sizeof batch);
    if (got < 0) fail("getdents64");
    if (got == 0) return puts("end"), 0;
    for (long at = 0; at < got;) {
      struct dirent64_head *entry = (struct dirent64_head *)(batch + at);
      printf("%ju %d %s\n", (uintmax_t)entry->ino, entry->type, entry->name);
      at += entry->length;
    }
    puts("more");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) return 2;
  }
}

static const struct {
  const char *name;
  int arguments_min;
  int (*run)(char **);
} commands[] = {
    {"same", 6, same},       /* FILE SOURCE buffered|direct|mmap ROUNDS READERS SEED */
    {"extents", 1, extents}, /* FILE */
    {"seek", 3, seek},       /* FILE (data|hole OFFSET)... */
    {"resident", 1, resident}, /* FILE */
    {"xattrs", 1, xattrs},   /* FILE */
    {"xattr", 3, xattr},     /* FILE NAME ROOM */
    {"writes", 3, writes},   /* DIRECTORY FILE SYMLINK */
    {"list", 1, list},       /* DIRECTORY */
};

int main(int argc, char **argv) {
  for (size_t each = 0; argc > 1 && each < sizeof commands / sizeof *commands; each++) {
    if (strcmp(argv[1], commands[each].name) == 0 && argc >= 2 + commands[each].arguments_min) {
      return commands[each].run(argv + 2);
    }
  }
  fputs("probe: unknown command, or too few arguments\n", stderr);
  return 2;
}
