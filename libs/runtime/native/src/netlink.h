/* rtnetlink without a library: one request, one answer, in the network namespace of the calling process. */
#ifndef ENXAME_NETLINK_H
#define ENXAME_NETLINK_H

#include "plan.h"

#include <sys/types.h>

/* A veth pair: one end here, the other in the namespace of `pid`. Replaces a left-over of the same name. */
int make_veth(const struct operation *operation, pid_t pid, struct error *err);
/* This end: address if any, and the route to the container. */
int configure_host_end(const struct operation *operation, struct error *err);
/* The container's end, called inside: address and routes. */
int configure_container_end(const struct operation *operation, struct error *err);
int set_loopback_up(struct error *err);
/* Gone already is no error. */
void delete_link(const char *name);

#endif
