/*
 * enxame-runtime: our containers under the command line that runc and crun have, for those who drive OCI runtimes.
 * TypeScript turns config.json into a plan, where one is needed; everything else is done here, without Node.js.
 */
#include "../answers.h"
#include "../cleanup.h"
#include "../json.h"
#include "../kernel.h"
#include "../sealed.h"
#include "commands.h"
#include "record.h"
#include "translator.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct command {
  const char *name;
  int (*run)(struct options *options, struct error *err);
  /* Its processes enter containers. */
  bool enters;
} commands[] = {
    {"create", create_command, true}, {"run", run_command, true},      {"exec", exec_command, true},
    {"start", start_command, false},  {"kill", kill_command, false},   {"delete", delete_command, false},
    {"state", state_command, false},  {"list", list_command, false},   {"ps", ps_command, false},
    {"pause", pause_command, false},  {"resume", resume_command, false},
};

static const char *const translator_commands[] = {"spec", "features"};
/* They begin with a container. */
static const char *const container_commands[] = {"update", "events"};

static bool is_one_of(const char *name, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(names[i], name)) return true;
  }
  return false;
}

/* `update --memory 1 ID`: which of the words is the container only the translator knows, so it gets all of the line. */
static int hand_on(const struct options *options, bool for_container, struct error *err) {
  char *line[1028] = {0};
  int count = 0;
  char program[PATH_MAX] = "";
  /* It asks this program about the container. */
  if (for_container && readlink("/proc/self/exe", program, sizeof program - 1) < 0) return fail(err, errno, "find this program");
  if (for_container) line[count++] = program;
  if (for_container) line[count++] = (char *)(uintptr_t)options->root;
  if (options->operand_count > 1024) return fail(err, 0, "%s: too many arguments", options->command);
  for (int i = 1; i < options->operand_count; i++) line[count++] = options->operands[i];
  return become_translator(options->command, line, err);
}

static int run(struct options *options, char **argv, struct error *err) {
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(commands[i].name, options->command)) continue;
    if (commands[i].enters && become_sealed(argv, err) < 0) return -1;
    return parse_command(options, err) < 0 ? -1 : commands[i].run(options, err);
  }
  if (is_one_of(options->command, translator_commands, sizeof translator_commands / sizeof *translator_commands)) {
    return hand_on(options, false, err);
  }
  if (is_one_of(options->command, container_commands, sizeof container_commands / sizeof *container_commands)) {
    return hand_on(options, true, err);
  }
  return fail(err, 0, "unknown command \"%s\"", options->command);
}

static void log_error(const struct options *options, const char *words) {
  autoclose int fd = options->log_file ? open(options->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
  fprintf(stderr, "enxame-runtime: %s\n", words);
  if (fd < 0) return;
  char now[40];
  time_t seconds = time(NULL);
  struct tm utc;
  strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
  struct buffer text = {0};
  if (!append_json(&text, (const uint8_t *)words, strlen(words))) return;
  dprintf(fd, options->log_json ? "{\"level\":\"error\",\"msg\":\"%.*s\",\"time\":\"%s\"}\n" : "%.*s %s\n",
          (int)buffer_length(&text), (const char *)text.data + text.start, now);
  buffer_free(&text);
}

int main(int argc, char **argv) {
  struct error error = {0};
  static struct options options;
  signal(SIGPIPE, SIG_IGN);
  if (fill_stdio() < 0) return 1;
  find_translator();
  int result = parse_globals(&options, argc, argv, &error);
  if (result == 1) return 0;
  if (result == 0) result = run(&options, argv, &error);
  if (result >= 0) return result;
  char words[512];
  describe_error(&error, words, sizeof words);
  log_error(&options, words);
  bool never_ran = !strcmp(options.command ? options.command : "", "run") || !strcmp(options.command ? options.command : "", "exec");
  return never_ran && (error.exit_code == EXIT_NOT_FOUND || error.exit_code == EXIT_CANNOT_RUN) ? error.exit_code : 1;
}
