#include "removal.h"

#include "../cleanup.h"
#include "../hooks.h"
#include "../kernel.h"
#include "cgroup_files.h"
#include "commands.h"

#include <errno.h>
#include <poll.h>

enum { DEATH_MS_MAX = 10000 };

void undo_creation(const char *root, struct record *record) {
  struct error ignored;
  if (record->folder < 0) return;
  remove_cgroups(&record->plan, &ignored);
  run_hooks(&record->plan, HOOK_POSTSTOP, "stopped", 0, &ignored);
  remove_record(root, record, &ignored);
}

static int kill_first_process(const struct record *record, struct error *err) {
  autoclose int pidfd = open_first_process(record);
  if (pidfd < 0) return 0;
  set_frozen(&record->plan, false, err);
  struct pollfd end = {.fd = pidfd, .events = POLLIN};
  if (sys_pidfd_send_signal(pidfd, SIGKILL) < 0 && errno != ESRCH) return fail(err, errno, "kill %s", record->id);
  return poll(&end, 1, DEATH_MS_MAX) > 0 ? 0 : fail(err, ETIMEDOUT, "kill %s", record->id);
}

int delete_container(const char *root, struct record *record, bool force, struct error *err) {
  enum status status = status_of(record);
  if (status != STATUS_STOPPED && !force) {
    return fail(err, 0, "delete: container %s is %s, not stopped", record->id, status_names[status]);
  }
  if (kill_first_process(record, err) < 0 || remove_cgroups(&record->plan, err) < 0) return -1;
  if (remove_record(root, record, err) < 0) return -1;
  /* It is gone whatever they do: what went wrong is said, and nothing else comes of it. */
  return run_hooks(&record->plan, HOOK_POSTSTOP, "stopped", 0, err);
}

int delete_command(struct options *options, struct error *err) {
  struct record record;
  const char *id = container_operand(options, err);
  if (!id) return -1;
  int result = load_record(options->root, id, &record, err);
  /* A creation that was killed in its first moments has left a folder and nothing else. */
  bool damaged = result < 0 && record.folder >= 0;
  if (damaged && options->force) result = remove_record(options->root, &record, err);
  else if (result == 0) result = delete_container(options->root, &record, options->force, err);
  /* Forced, and not there: as wished. */
  if (result < 0 && options->force && record.folder < 0 && check_id(id, err) == 0) result = 0;
  close_record(&record);
  return result;
}
