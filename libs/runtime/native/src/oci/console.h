/* Terminals that go to somebody else, and processes that this command waits for. */
#ifndef ENXAME_OCI_CONSOLE_H
#define ENXAME_OCI_CONSOLE_H

#include "../process.h"

/* The master, by SCM_RIGHTS. */
int send_console(const char *socket_path, int master, struct error *err);

/* Before the process is started: signals that come from now on are passed on by wait_for(). */
void hold_signals(void);
/* Copies between this terminal and the process's, if it has one, and waits for its end: its exit code as a shell says it. */
int wait_for(struct process *process);

#endif
