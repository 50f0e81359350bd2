/* kill, state, list, ps, pause, resume: what is asked of a container that is there. */
#include "../cleanup.h"
#include "../kernel.h"
#include "../oci_state.h"
#include "cgroup_files.h"
#include "commands.h"
#include "record.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SIGNALS_MAX = 64, REALTIME_MIN = 34 };

typedef int answer(struct options *options, struct record *record, struct error *err);

static int with_container(struct options *options, answer *ask, struct error *err) {
  struct record record;
  const char *id = container_operand(options, err);
  if (!id) return -1;
  int result = load_record(options->root, id, &record, err);
  if (result == 0) result = ask(options, &record, err);
  close_record(&record);
  return result;
}

/* `KILL`, `SIGKILL`, `9`, `RTMIN+1`. 0: none of Linux. */
static int signal_number(const char *name) {
  if (isdigit((unsigned char)*name)) {
    int number = atoi(name);
    return number <= SIGNALS_MAX ? number : 0;
  }
  if (!strncasecmp(name, "SIG", 3)) name += 3;
  if (!strncasecmp(name, "RTMIN", 5)) return REALTIME_MIN + atoi(name + 5);
  if (!strncasecmp(name, "RTMAX", 5)) return SIGNALS_MAX + atoi(name + 5);
  for (int number = 1; number < REALTIME_MIN; number++) {
    const char *known = sigabbrev_np(number);
    if (known && !strcasecmp(known, name)) return number;
  }
  return 0;
}

static int kill_it(struct options *options, struct record *record, struct error *err) {
  const char *name = options->operand_count > 1 ? options->operands[1] : "TERM";
  int number = signal_number(name);
  if (number < 1 || number > SIGNALS_MAX) return fail(err, 0, "kill: unknown signal \"%s\"", name);
  if (options->all && signal_all(&record->plan, number)) return 0;
  autoclose int pidfd = open_first_process(record);
  if (pidfd < 0) return options->all ? 0 : fail(err, 0, "kill: container not running: %s is stopped", record->id);
  return sys_pidfd_send_signal(pidfd, number) == 0 ? 0 : fail(err, errno, "kill %s", record->id);
}

int kill_command(struct options *options, struct error *err) {
  return with_container(options, kill_it, err);
}

static int print_state(const struct record *record, const char *end, struct error *err) {
  struct buffer text = {0};
  enum status status = status_of(record);
  bool complete = append_oci_state(&text, &record->plan, status_names[status], status == STATUS_STOPPED ? 0 : record->pid);
  if (complete) printf("%.*s%s", (int)buffer_length(&text), (const char *)text.data + text.start, end);
  buffer_free(&text);
  return complete ? 0 : fail(err, ENOMEM, "state");
}

static int show_state(struct options *options, struct record *record, struct error *err) {
  (void)options;
  return print_state(record, "\n", err);
}

int state_command(struct options *options, struct error *err) {
  return with_container(options, show_state, err);
}

static bool has_format(const struct options *options, const char *format) {
  return options->format && !strcmp(options->format, format);
}

static void list_one(const struct options *options, const char *id, int *count) {
  struct record record;
  struct error ignored;
  if (load_record(options->root, id, &record, &ignored) == 0) {
    enum status status = status_of(&record);
    const struct operation *state = find_operation(&record.plan, OP_OCI_STATE);
    if (options->quiet) {
      puts(id);
    } else if (has_format(options, "json")) {
      fputs((*count)++ ? "," : "", stdout);
      print_state(&record, "", &ignored);
    } else {
      printf("%-24s %-10d %-10s %s\n", id, status == STATUS_STOPPED ? 0 : record.pid, status_names[status],
             state ? state->oci_state.bundle : "");
    }
  }
  close_record(&record);
}

int list_command(struct options *options, struct error *err) {
  struct dirent **entries = NULL;
  int count = 0;
  int found = scandir(options->root, &entries, NULL, alphasort);
  if (found < 0 && errno != ENOENT) return fail(err, errno, "list %s", options->root);
  bool json = has_format(options, "json") && !options->quiet;
  if (json) fputs("[", stdout);
  else if (!options->quiet) printf("%-24s %-10s %-10s %s\n", "ID", "PID", "STATUS", "BUNDLE");
  for (int i = 0; i < found; i++) {
    if (entries[i]->d_name[0] != '.') list_one(options, entries[i]->d_name, &count);
    free(entries[i]);
  }
  free(entries);
  if (json) puts("]");
  return 0;
}

static void print_process(pid_t pid) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
  autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  for (ssize_t i = 0; i < length; i++) text[i] = text[i] ? text[i] : ' ';
  text[length > 0 ? length : 0] = 0;
  printf("%-10d %s\n", pid, text);
}

static int show_processes(struct options *options, struct record *record, struct error *err) {
  struct pids pids;
  enum status status = status_of(record);
  if (status == STATUS_STOPPED) return fail(err, 0, "ps: container %s is not running", record->id);
  if (read_pids(&record->plan, &pids, err) < 0) return -1;
  bool json = has_format(options, "json");
  fputs(json ? "[" : "PID        CMD\n", stdout);
  for (size_t i = 0; i < pids.count; i++) {
    if (json) printf("%s%d", i ? "," : "", pids.items[i]);
    else print_process(pids.items[i]);
  }
  if (json) puts("]");
  free(pids.items);
  return 0;
}

int ps_command(struct options *options, struct error *err) {
  return with_container(options, show_processes, err);
}

static int pause_it(struct options *options, struct record *record, struct error *err) {
  (void)options;
  enum status status = status_of(record);
  if (status == STATUS_RUNNING || status == STATUS_CREATED) return set_frozen(&record->plan, true, err);
  return fail(err, 0, "pause: container %s is %s", record->id, status_names[status]);
}

int pause_command(struct options *options, struct error *err) {
  return with_container(options, pause_it, err);
}

static int resume_it(struct options *options, struct record *record, struct error *err) {
  (void)options;
  if (status_of(record) == STATUS_STOPPED || !is_frozen(&record->plan)) {
    return fail(err, 0, "resume: container %s is not paused", record->id);
  }
  return set_frozen(&record->plan, false, err);
}

int resume_command(struct options *options, struct error *err) {
  return with_container(options, resume_it, err);
}
