/* The least that a FUSE file system can do: one file, every read answered from one hot buffer.
 * What it reaches is the limit for any file system that has to look something up.
 *
 *   cc -O2 trivial-fuse.c $(pkg-config fuse3 --cflags --libs) -o trivial-fuse
 *   ./trivial-fuse <directory> <size in bytes>          (runs until unmounted)
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <stdlib.h>
#include <string.h>

static off_t file_size;
static char hot[1 << 20];

static int get_attributes(const char *path, struct stat *st, struct fuse_file_info *info) {
  (void)info;
  memset(st, 0, sizeof *st);
  if (strcmp(path, "/") == 0) {
    st->st_mode = S_IFDIR | 0755;
    st->st_nlink = 2;
    return 0;
  }
  if (strcmp(path, "/disk.img") != 0) return -ENOENT;
  st->st_mode = S_IFREG | 0444;
  st->st_nlink = 1;
  st->st_size = file_size;
  return 0;
}

static int open_file(const char *path, struct fuse_file_info *info) {
  info->keep_cache = 1;
  return strcmp(path, "/disk.img") == 0 ? 0 : -ENOENT;
}

static int read_file(const char *path, char *into, size_t len, off_t offset, struct fuse_file_info *info) {
  (void)path;
  (void)info;
  if (offset >= file_size) return 0;
  if (len > (size_t)(file_size - offset)) len = (size_t)(file_size - offset);
  if (len > sizeof hot) len = sizeof hot;
  memcpy(into, hot, len);
  return (int)len;
}

static const struct fuse_operations operations = {
    .getattr = get_attributes,
    .open = open_file,
    .read = read_file,
};

int main(int count, char **words) {
  if (count != 3) return 2;
  file_size = atoll(words[2]);
  memset(hot, 0x5a, sizeof hot);
  char *arguments[] = {words[0], "-f", "-o", "ro", words[1]};
  return fuse_main(5, arguments, &operations, NULL);
}
