#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char default_root[] = "/run/enxame-runtime";

/* What is behind an option: a member of `options`, or the translator. */
enum {
  ROOT = 256, LOG, LOG_FORMAT, IGNORED, SYSTEMD_CGROUP, VERSION, HELP,
  BUNDLE, PID_FILE, CONSOLE_SOCKET, FORMAT, PRESERVE, DETACH, FORCE, ALL, KEEP, QUIET, PROCESS, TRANSLATED,
};

static const struct option global_options[] = {
    {"root", required_argument, NULL, ROOT},
    {"log", required_argument, NULL, LOG},
    {"log-format", required_argument, NULL, LOG_FORMAT},
    {"log-level", required_argument, NULL, IGNORED},
    {"debug", no_argument, NULL, IGNORED},
    {"rootless", required_argument, NULL, IGNORED},
    {"systemd-cgroup", no_argument, NULL, SYSTEMD_CGROUP},
    {"version", no_argument, NULL, VERSION},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static const struct option start_options[] = {
    {"bundle", required_argument, NULL, BUNDLE},
    {"config", required_argument, NULL, TRANSLATED},
    {"pid-file", required_argument, NULL, PID_FILE},
    {"console-socket", required_argument, NULL, CONSOLE_SOCKET},
    {"preserve-fds", required_argument, NULL, PRESERVE},
    {"no-pivot", no_argument, NULL, TRANSLATED},
    {"no-new-keyring", no_argument, NULL, TRANSLATED},
    {"no-subreaper", no_argument, NULL, IGNORED},
    {"detach", no_argument, NULL, DETACH},
    {"keep", no_argument, NULL, KEEP},
    {NULL, 0, NULL, 0},
};

static const struct option exec_options[] = {
    {"process", required_argument, NULL, PROCESS},
    {"pid-file", required_argument, NULL, PID_FILE},
    {"console-socket", required_argument, NULL, CONSOLE_SOCKET},
    {"preserve-fds", required_argument, NULL, PRESERVE},
    {"detach", no_argument, NULL, DETACH},
    {"tty", no_argument, NULL, TRANSLATED},
    {"cwd", required_argument, NULL, TRANSLATED},
    {"env", required_argument, NULL, TRANSLATED},
    {"user", required_argument, NULL, TRANSLATED},
    {"additional-gids", required_argument, NULL, TRANSLATED},
    {"cap", required_argument, NULL, TRANSLATED},
    {"no-new-privs", no_argument, NULL, TRANSLATED},
    {"apparmor", required_argument, NULL, TRANSLATED},
    {"process-label", required_argument, NULL, TRANSLATED},
    {"ignore-paused", no_argument, NULL, FORCE},
    {NULL, 0, NULL, 0},
};

static const struct option kill_options[] = {{"all", no_argument, NULL, ALL}, {NULL, 0, NULL, 0}};
static const struct option delete_options[] = {{"force", no_argument, NULL, FORCE}, {NULL, 0, NULL, 0}};
static const struct option list_options[] = {
    {"format", required_argument, NULL, FORMAT}, {"quiet", no_argument, NULL, QUIET}, {NULL, 0, NULL, 0}};
static const struct option no_options[] = {{NULL, 0, NULL, 0}};

/* `operands_end`: what follows the first operand is a command line of its own. */
static const struct command_line {
  const char *command;
  const char *short_options;
  const struct option *long_options;
} command_lines[] = {
    {"create", "b:f:", start_options}, {"run", "b:df:", start_options}, {"exec", "+p:dtu:e:g:c:", exec_options},
    {"kill", "a", kill_options},       {"delete", "f", delete_options}, {"list", "f:q", list_options},
    {"ps", "f:", list_options},        {"start", "", no_options},       {"state", "", no_options},
    {"pause", "", no_options},         {"resume", "", no_options},
};

static int add_translated(struct options *options, char *argument, struct error *err) {
  if (options->translated_count >= TRANSLATOR_ARGUMENTS_MAX) return fail(err, E2BIG, "command line");
  options->translated[options->translated_count++] = argument;
  return 0;
}

static int pass_on(struct options *options, const char *name, const char *value, struct error *err) {
  char *argument = NULL;
  if (asprintf(&argument, value ? "--%s=%s" : "--%s", name, value) < 0) return fail(err, ENOMEM, "command line");
  return add_translated(options, argument, err);
}

static int take_number(const char *text, unsigned *number, struct error *err) {
  char *end = NULL;
  unsigned long value = strtoul(text, &end, 10);
  if (*end || !*text || value > 1024) return fail(err, 0, "--preserve-fds=%s must be a number up to 1024", text);
  *number = (unsigned)value;
  return 0;
}

static const char *name_of(const struct option *long_options, int letter) {
  for (; long_options->name; long_options++) {
    if (long_options->val == TRANSLATED && long_options->name[0] == letter) return long_options->name;
  }
  return NULL;
}

static int take_option(struct options *options, const struct command_line *line, int found, int index, struct error *err) {
  switch (found) {
    case 'b': case BUNDLE: options->bundle = optarg; return 0;
    case PID_FILE: options->pid_file = optarg; return 0;
    case CONSOLE_SOCKET: options->console_socket = optarg; return 0;
    case FORMAT: options->format = optarg; return 0;
    case PRESERVE: return take_number(optarg, &options->preserved_descriptors, err);
    case 'd': case DETACH: options->detach = true; return 0;
    case FORCE: options->force = true; return 0;
    case 'a': case ALL: options->all = true; return 0;
    case KEEP: options->keep = true; return 0;
    case 'q': case QUIET: options->quiet = true; return 0;
    case IGNORED: return 0;
    case 'f':
      if (!strcmp(line->command, "delete")) options->force = true;
      else if (line->long_options == start_options) return pass_on(options, "config", optarg, err);
      else options->format = optarg;
      return 0;
    case 'p': case PROCESS:
      options->has_process_file = true;
      return pass_on(options, "process", optarg, err);
    case TRANSLATED: return pass_on(options, line->long_options[index].name, optarg, err);
    default: {
      const char *name = found > 0 && found < 128 ? name_of(line->long_options, found) : NULL;
      return name ? pass_on(options, name, optarg, err) : fail(err, 0, "%s: unknown or incomplete option", line->command);
    }
  }
}

int parse_command(struct options *options, struct error *err) {
  const struct command_line *line = NULL;
  for (size_t i = 0; i < sizeof command_lines / sizeof *command_lines; i++) {
    if (!strcmp(command_lines[i].command, options->command)) line = &command_lines[i];
  }
  if (!line) return fail(err, 0, "unknown command \"%s\"", options->command);
  /* GNU getopt begins anew, with the command's name in the place of a program's. */
  optind = 0;
  opterr = 0;
  int index = 0, found;
  while ((found = getopt_long(options->operand_count, options->operands, line->short_options, line->long_options, &index)) >= 0) {
    if (found == '?') return fail(err, 0, "%s: unknown or incomplete option \"%s\"", line->command, options->operands[optind - 1]);
    if (take_option(options, line, found, index, err) < 0) return -1;
  }
  options->operands += optind;
  options->operand_count -= optind;
  return 0;
}

static void print_help(void) {
  puts("usage: enxame-runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND [OPTIONS] [ID] ...\n\n"
       "commands: create start state kill delete run exec pause resume ps list events update features spec");
}

int parse_globals(struct options *options, int argc, char **argv, struct error *err) {
  options->root = default_root;
  opterr = 0;
  int found;
  while ((found = getopt_long(argc, argv, "+vh", global_options, NULL)) >= 0) {
    switch (found) {
      case ROOT: options->root = optarg; break;
      case LOG: options->log_file = optarg; break;
      case LOG_FORMAT:
        if (strcmp(optarg, "json") && strcmp(optarg, "text")) return fail(err, 0, "--log-format must be text or json");
        options->log_json = !strcmp(optarg, "json");
        break;
      case IGNORED: break;
      case SYSTEMD_CGROUP: return fail(err, 0, "--systemd-cgroup: cgroups are made without systemd; use the cgroupfs manager");
      case 'v': case VERSION:
        puts("enxame-runtime version 0.1.0\nspec: 1.3.0");
        return 1;
      case 'h': case HELP:
        print_help();
        return 1;
      default: return fail(err, 0, "unknown or incomplete option \"%s\"", argv[optind - 1]);
    }
  }
  if (optind == argc) return fail(err, 0, "no command; see --help");
  options->command = argv[optind];
  options->operands = argv + optind;
  options->operand_count = argc - optind;
  return 0;
}
