#include "netlink.h"

#include "cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { REQUEST_BYTES_MAX = 1024, ANSWER_BYTES_MAX = 8192, LOOPBACK_INDEX = 1, PREFIX_ALL = 32 };

struct request {
  union {
    struct nlmsghdr header;
    uint8_t bytes[REQUEST_BYTES_MAX];
  };
};

static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t body_bytes) {
  memset(request, 0, sizeof *request);
  request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_bytes);
  request->header.nlmsg_type = type;
  request->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
  return NLMSG_DATA(&request->header);
}

/* All attributes here are names, numbers and addresses that the caller bounded: 1 KiB holds every request below. */
static struct rtattr *add(struct request *request, uint16_t type, const void *data, size_t length) {
  struct rtattr *attribute = (struct rtattr *)(request->bytes + NLMSG_ALIGN(request->header.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = (uint16_t)RTA_LENGTH(length);
  if (length) memcpy(RTA_DATA(attribute), data, length);
  request->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len));
  return attribute;
}

static void add_u32(struct request *request, uint16_t type, uint32_t value) {
  add(request, type, &value, sizeof value);
}

static void add_text(struct request *request, uint16_t type, const char *text) {
  add(request, type, text, strlen(text) + 1);
}

static void end_nest(struct request *request, struct rtattr *nest) {
  nest->rta_len = (uint16_t)(request->bytes + request->header.nlmsg_len - (uint8_t *)nest);
}

/* 0, or -1 with errno as the kernel answered. */
static int talk(struct request *request) {
  autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -1;
  if (send(fd, request, request->header.nlmsg_len, 0) < 0) return -1;
  union {
    struct nlmsghdr header;
    uint8_t bytes[ANSWER_BYTES_MAX];
  } answer;
  ssize_t length = recv(fd, &answer, sizeof answer, 0);
  if (length < 0) return -1;
  if (!NLMSG_OK(&answer.header, (size_t)length) || answer.header.nlmsg_type != NLMSG_ERROR) {
    errno = EPROTO;
    return -1;
  }
  const struct nlmsgerr *verdict = NLMSG_DATA(&answer.header);
  errno = -verdict->error;
  return verdict->error ? -1 : 0;
}

static int parse_address(const char *text, uint32_t *address, struct error *err) {
  struct in_addr parsed;
  if (inet_pton(AF_INET, text, &parsed) != 1) return fail(err, EINVAL, "interface: address \"%.40s\"", text);
  *address = parsed.s_addr;
  return 0;
}

static int check_name(const char *name, struct error *err) {
  size_t length = strlen(name);
  if (length > 0 && length < IFNAMSIZ && !strchr(name, '/')) return 0;
  return fail(err, EINVAL, "interface: name \"%.40s\", 1 to 15 characters are possible", name);
}

static unsigned link_index(const char *name, struct error *err) {
  unsigned index = if_nametoindex(name);
  if (index == 0) fail(err, errno, "find interface %s", name);
  return index;
}

void delete_link(const char *name) {
  struct request request;
  begin(&request, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
  add_text(&request, IFLA_IFNAME, name);
  talk(&request);
}

static int request_veth(const struct operation *operation, pid_t pid) {
  struct request request;
  struct ifinfomsg *host = begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *host);
  host->ifi_flags = host->ifi_change = IFF_UP;
  add_text(&request, IFLA_IFNAME, operation->interface.host_name);
  add_u32(&request, IFLA_MTU, (uint32_t)operation->interface.mtu);
  struct rtattr *info = add(&request, IFLA_LINKINFO, NULL, 0);
  add(&request, IFLA_INFO_KIND, "veth", 4);
  struct rtattr *data = add(&request, IFLA_INFO_DATA, NULL, 0);
  /* Only the host end can be up at once: the peer is made first, and veth refuses to be up alone. */
  struct ifinfomsg inside = {0};
  struct rtattr *peer = add(&request, VETH_INFO_PEER, &inside, sizeof inside);
  add_text(&request, IFLA_IFNAME, operation->interface.name);
  add_u32(&request, IFLA_MTU, (uint32_t)operation->interface.mtu);
  add_u32(&request, IFLA_NET_NS_PID, (uint32_t)pid);
  end_nest(&request, peer);
  end_nest(&request, data);
  end_nest(&request, info);
  return talk(&request);
}

int make_veth(const struct operation *operation, pid_t pid, struct error *err) {
  if (check_name(operation->interface.host_name, err) < 0 || check_name(operation->interface.name, err) < 0) return -1;
  if (request_veth(operation, pid) == 0) return 0;
  if (errno == EEXIST) {
    delete_link(operation->interface.host_name);
    if (request_veth(operation, pid) == 0) return 0;
  }
  return fail(err, errno, "make veth pair %s", operation->interface.host_name);
}

static int add_address(unsigned index, uint32_t address, const char *name, struct error *err) {
  struct request request;
  struct ifaddrmsg *body = begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof *body);
  body->ifa_family = AF_INET;
  body->ifa_prefixlen = PREFIX_ALL;
  body->ifa_index = index;
  add_u32(&request, IFA_LOCAL, address);
  add_u32(&request, IFA_ADDRESS, address);
  return talk(&request) == 0 ? 0 : fail(err, errno, "give interface %s its address", name);
}

struct route {
  uint32_t destination;
  uint8_t prefix_length;
  /* 0: the destination itself is on the link. */
  uint32_t gateway;
  unsigned index;
};

static int add_route(const struct route *route, const char *name, struct error *err) {
  struct request request;
  struct rtmsg *body = begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *body);
  body->rtm_family = AF_INET;
  body->rtm_dst_len = route->prefix_length;
  body->rtm_table = RT_TABLE_MAIN;
  body->rtm_protocol = RTPROT_STATIC;
  body->rtm_type = RTN_UNICAST;
  body->rtm_scope = route->gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  if (route->prefix_length) add_u32(&request, RTA_DST, route->destination);
  add_u32(&request, RTA_OIF, route->index);
  if (route->gateway) {
    add_u32(&request, RTA_GATEWAY, route->gateway);
    body->rtm_flags = RTNH_F_ONLINK;
  }
  return talk(&request) == 0 ? 0 : fail(err, errno, "add a route by interface %s", name);
}

int configure_host_end(const struct operation *operation, struct error *err) {
  const char *name = operation->interface.host_name;
  struct route route = {.prefix_length = PREFIX_ALL, .index = link_index(name, err)};
  if (route.index == 0) return -1;
  if (*operation->interface.host_address) {
    uint32_t address = 0;
    if (parse_address(operation->interface.host_address, &address, err) < 0) return -1;
    if (add_address(route.index, address, name, err) < 0) return -1;
  }
  if (parse_address(operation->interface.address, &route.destination, err) < 0) return -1;
  return add_route(&route, name, err);
}

/* `A.B.C.D/len`. */
static int parse_destination(const char *text, struct route *route, struct error *err) {
  char address[INET_ADDRSTRLEN];
  const char *slash = strchr(text, '/');
  size_t length = slash ? (size_t)(slash - text) : sizeof address;
  char *end = NULL;
  unsigned long prefix = slash ? strtoul(slash + 1, &end, 10) : 33;
  if (length >= sizeof address || prefix > PREFIX_ALL || end == slash + 1 || *end) {
    return fail(err, EINVAL, "interface: route \"%.40s\"", text);
  }
  memcpy(address, text, length);
  address[length] = 0;
  route->prefix_length = (uint8_t)prefix;
  return parse_address(address, &route->destination, err);
}

static int set_link_up(unsigned index, const char *name, struct error *err) {
  struct request request;
  struct ifinfomsg *body = begin(&request, RTM_NEWLINK, 0, sizeof *body);
  body->ifi_index = (int)index;
  body->ifi_flags = body->ifi_change = IFF_UP;
  return talk(&request) == 0 ? 0 : fail(err, errno, "set interface %s up", name);
}

int configure_container_end(const struct operation *operation, struct error *err) {
  const char *name = operation->interface.name;
  unsigned index = link_index(name, err);
  uint32_t address = 0;
  if (index == 0 || parse_address(operation->interface.address, &address, err) < 0) return -1;
  if (set_link_up(index, name, err) < 0) return -1;
  if (add_address(index, address, name, err) < 0) return -1;
  const struct strings *routes = &operation->interface.routes;
  for (uint32_t i = 0; i + 1 < routes->count; i += 2) {
    struct route route = {.index = index};
    if (parse_destination(routes->items[i], &route, err) < 0) return -1;
    if (*routes->items[i + 1] && parse_address(routes->items[i + 1], &route.gateway, err) < 0) return -1;
    if (add_route(&route, name, err) < 0) return -1;
  }
  if (!*operation->interface.default_gateway) return 0;
  struct route route = {.index = index};
  if (parse_address(operation->interface.default_gateway, &route.gateway, err) < 0) return -1;
  return add_route(&route, name, err);
}

int set_loopback_up(struct error *err) {
  return set_link_up(LOOPBACK_INDEX, "lo", err);
}
