/* One function for each command. Their result: the exit code, or -1 with the error. */
#ifndef ENXAME_OCI_COMMANDS_H
#define ENXAME_OCI_COMMANDS_H

#include "options.h"

int create_command(struct options *options, struct error *err);
int run_command(struct options *options, struct error *err);
int start_command(struct options *options, struct error *err);
int exec_command(struct options *options, struct error *err);
int kill_command(struct options *options, struct error *err);
int delete_command(struct options *options, struct error *err);
int state_command(struct options *options, struct error *err);
int list_command(struct options *options, struct error *err);
int ps_command(struct options *options, struct error *err);
int pause_command(struct options *options, struct error *err);
int resume_command(struct options *options, struct error *err);

/* The operand that every command but a few begins with. NULL: there is none. */
const char *container_operand(const struct options *options, struct error *err);
/* "PID", by rename: whoever waits for the file finds it whole. */
int write_pid_file(const char *path, pid_t pid, struct error *err);

#endif
