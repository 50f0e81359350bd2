/* The command line of an OCI runtime, as runc and crun have it. */
#ifndef ENXAME_OCI_OPTIONS_H
#define ENXAME_OCI_OPTIONS_H

#include "../error.h"

#include <stdbool.h>

enum { TRANSLATOR_ARGUMENTS_MAX = 1024 };

struct options {
  const char *root;
  const char *log_file;
  bool log_json;
  const char *command;
  /* Of the command. */
  const char *bundle, *pid_file, *console_socket, *format;
  unsigned preserved_descriptors;
  bool detach, force, all, keep, quiet, has_process_file;
  /* What only the translator looks at, as it came. */
  char *translated[TRANSLATOR_ARGUMENTS_MAX + 1];
  int translated_count;
  /* What is no option: the container's id first. */
  char **operands;
  int operand_count;
};

/* Options before the command; the rest of the line stays for parse_command(). 1: nothing is left to do. */
int parse_globals(struct options *options, int argc, char **argv, struct error *err);
int parse_command(struct options *options, struct error *err);

#endif
