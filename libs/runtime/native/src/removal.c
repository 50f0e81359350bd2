#include "removal.h"

#include "answers.h"
#include "cleanup.h"
#include "kernel.h"
#include "title.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { RESULT_FD = 3, MOVED_NAME_BYTES = 32 };

static bool is_dots(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int move_up(int folder, const char *name, int trash, unsigned *moved, struct error *err) {
  for (;;) {
    char target[MOVED_NAME_BYTES];
    snprintf(target, sizeof target, "moved-%u", (*moved)++);
    if (renameat2(folder, name, trash, target, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EEXIST) return fail(err, errno, "move %.100s", name);
  }
}

static int flatten(int folder, int trash, unsigned *moved, struct error *err);

/* A folder that is not empty: directly in the trash it is emptied, deeper it is moved there for the next round. */
static int take_apart(int folder, const char *name, int trash, unsigned *moved, struct error *err) {
  if (folder != trash) return move_up(folder, name, trash, moved, err);
  autoclose int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (inner < 0) return fail(err, errno, "open %.100s", name);
  if (flatten(inner, trash, moved, err) < 0) return -1;
  return unlinkat(folder, name, AT_REMOVEDIR) == 0 ? 0 : fail(err, errno, "remove %.100s", name);
}

/* Whether there was anything, or -1. */
static int flatten(int folder, int trash, unsigned *moved, struct error *err) {
  int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *list = copy < 0 ? NULL : fdopendir(copy);
  if (!list) {
    close_descriptor(&copy);
    return fail(err, errno, "list a folder");
  }
  int found = 0;
  for (struct dirent *item; found >= 0 && (item = readdir(list));) {
    const char *name = item->d_name;
    if (is_dots(name)) continue;
    found = 1;
    if (unlinkat(folder, name, 0) == 0) continue;
    if (errno == EISDIR && unlinkat(folder, name, AT_REMOVEDIR) == 0) continue;
    if (errno == ENOTEMPTY || errno == EEXIST) found = take_apart(folder, name, trash, moved, err) < 0 ? -1 : 1;
    else found = fail(err, errno, "remove %.100s", name);
  }
  closedir(list);
  return found;
}

/*
 * A container chose what is in there: no link is followed, and the tree is made flat level by level instead of the
 * stack getting deep or a path long.
 */
int remove_tree(const char *path, struct error *err) {
  autoclose int trash = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (trash < 0) return errno == ENOENT ? 0 : fail(err, errno, "open %s", path);
  unsigned moved = 0;
  int found = 1;
  while (found > 0) found = flatten(trash, trash, &moved, err);
  if (found < 0) return -1;
  return rmdir(path) == 0 || errno == ENOENT ? 0 : fail(err, errno, "remove %s", path);
}

void run_removal(struct reader *payload, uint32_t request, int result) {
  struct error error = {0};
  struct buffer answer = {0}, head = {0};
  if (dup2(result, RESULT_FD) < 0 || sys_close_range(RESULT_FD + 1, ~0U, 0) < 0) _exit(EXIT_BEFORE_EXEC);
  const char *path = read_string(payload);
  set_title("enxame-removal", path);
  bool complete = false;
  if (payload->bad || *path != '/') fail(&error, EINVAL, "remove: no path");
  else complete = remove_tree(path, &error) == 0;
  if (!complete) answer_failed(&answer, &request, &error);
  else if (append_u32(&head, request)) append_frame(&answer, FRAME_OK, head.data, head.end);
  if (answer.data) send(RESULT_FD, answer.data, answer.end, MSG_NOSIGNAL);
  _exit(0);
}
