/*
 * What a keeper and a process it starts say to each other until the exec, over a SOCK_SEQPACKET pair:
 *
 *   keeper                                 process
 *     clone3 ------------------------------>
 *     MAPPED ------------------------------> (with a user namespace) its root and mounts
 *     makes its veths
 *     INTERFACES --------------------------> addresses and routes
 *     joins it to cgroups
 *     JOINED ------------------------------> cgroup namespace
 *     <----------------------------- MOUNTED  (with hooks) all its mounts are there
 *     HOOKED + pid ------------------------> hooks of its own, pivot_root, limits
 *     <------------------------ DEVPTS + fd   so that later terminals need no path in the container
 *     <---------------------- TERMINAL + fd   the master of its own terminal
 *     <-------------------------------- HELD
 *     START -------------------------------->
 *                                            ids, capabilities, seccomp, exec
 *     <------------------------------- ERROR  or the end of the stream: the program runs
 */
#ifndef ENXAME_CHANNEL_H
#define ENXAME_CHANNEL_H

#include "error.h"

#include <sys/types.h>

/*
 * Joining a v1 cgroup may wait for an RCU grace period of the whole machine (see hurry_joins), so the process goes on
 * with its mounts meanwhile; it waits for JOINED before anything shows or depends on the cgroup, above all before the exec.
 */
enum channel_message {
  CHANNEL_MAPPED = 1,
  CHANNEL_INTERFACES,
  CHANNEL_JOINED,
  CHANNEL_MOUNTED,
  CHANNEL_HOOKED,
  CHANNEL_DEVPTS,
  CHANNEL_TERMINAL,
  CHANNEL_HELD,
  CHANNEL_START,
  CHANNEL_ERROR,
  CHANNEL_END,
};

/* `fd` -1: none. 0, or -1 with errno. */
int channel_send(int channel, enum channel_message message, int fd);
int channel_send_error(int channel, const struct error *error);
/* HOOKED, with the pid of the process as the node sees it. */
int channel_send_hooked(int channel, pid_t pid);
pid_t channel_await_hooked(int channel, struct error *error);
/* CHANNEL_END at the end of the stream. `fd` and `error` are set where the message carries them. -1 with errno. */
int channel_receive(int channel, int *fd, struct error *error);

#endif
