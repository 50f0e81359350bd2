/*
 * The demo image's only program: a small HTTP/1.1 server that says which task answered, and that leaves without
 * failing a single request.
 *
 *   /demo               serves port 8080
 *   /demo healthcheck   exits 0 when GET /healthz on 127.0.0.1:8080 answers 200
 *
 * Environment: DEMO_VERSION, DEMO_SERVICE, DEMO_TASK, DEMO_NODE (shown), DEMO_FAIL_HEALTH=1 (/healthz answers 503),
 * DEMO_EXIT_AFTER=<ms> and DEMO_EXIT_CODE=<n> (the process ends by itself), DEMO_EAT_MIB=<n> (takes that much memory
 * at start, to show a memory limit).
 *
 * One thread and one epoll set. A connection is: read -> answer every complete request in the buffer -> write. After
 * SIGTERM each answer carries `Connection: close`; see leave() for the rest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	port = 8080,
	connections_max = 1000,
	request_bytes_max = 8192,
	output_bytes_max = 16384,
	/* A response is written whole or not at all: this much room must be free before a request is answered. */
	response_bytes_max = 4096,
	shown_bytes_max = 256,
	idle_ms = 120 * 1000,
	/* After SIGTERM: how long a silent connection may still bring a request, and how long all of it may take. */
	leave_linger_ms = 1000,
	leave_ms_max = 8000,
	/* After our FIN: how long we read on, so that unread input does not turn the close into a reset. */
	close_linger_ms = 1000,
};

enum phase { phase_free, phase_open, phase_closing };

struct connection {
	enum phase phase;
	int fd;
	/* Bytes of a request body that are still to be skipped. */
	long long skip;
	/* The response being written is the last one. */
	bool last;
	long long active_at_ms;
	uint32_t watched;
	size_t input_length, output_length, output_sent;
	char client[INET_ADDRSTRLEN + 8];
	char input[request_bytes_max];
	char output[output_bytes_max];
};

/* Static, so that untouched slots cost no memory. */
static struct connection connections[connections_max];
static int connection_count;
static int listener = -1, epoll = -1;
static bool listening;
static volatile sig_atomic_t leaving;
static long long leaving_since_ms;

static struct {
	char service[shown_bytes_max], task[shown_bytes_max], node[shown_bytes_max], version[shown_bytes_max];
	bool fail_health;
	long long exit_at_ms;
	int exit_code;
} settings;

static long long now_ms(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void on_signal(int number) {
	(void)number;
	leaving = 1;
}

/* Copies an environment variable, keeping only what may stand in a header line and in a JSON string unescaped. */
static void read_setting(char *to, const char *name, const char *otherwise) {
	const char *value = getenv(name);
	size_t length = 0;
	if (!value || !*value) value = otherwise;
	for (; *value && length + 1 < shown_bytes_max; value++)
		if ((unsigned char)*value >= ' ' && *value != '"' && *value != '\\' && *value != 0x7f) to[length++] = *value;
	to[length] = 0;
}

static long long read_number(const char *name, long long otherwise) {
	const char *value = getenv(name);
	char *end;
	if (!value || !*value) return otherwise;
	long long number = strtoll(value, &end, 10);
	return *end || number < 0 ? otherwise : number;
}

static void read_settings(void) {
	char hostname[shown_bytes_max] = "unknown";
	gethostname(hostname, sizeof hostname - 1);
	read_setting(settings.version, "DEMO_VERSION", "unknown");
	read_setting(settings.service, "DEMO_SERVICE", hostname);
	read_setting(settings.task, "DEMO_TASK", hostname);
	read_setting(settings.node, "DEMO_NODE", hostname);
	settings.fail_health = read_number("DEMO_FAIL_HEALTH", 0) != 0;
	settings.exit_code = (int)(read_number("DEMO_EXIT_CODE", 1) & 255);
	long long exit_after_ms = read_number("DEMO_EXIT_AFTER", 0);
	settings.exit_at_ms = exit_after_ms ? now_ms() + exit_after_ms : 0;
}

/* Touches every page, so that the memory is really charged to the container. */
static void eat_memory(void) {
	size_t bytes = (size_t)read_number("DEMO_EAT_MIB", 0) << 20;
	char *memory = bytes ? malloc(bytes) : NULL;
	for (size_t at = 0; memory && at < bytes; at += 4096) ((volatile char *)memory)[at] = 1;
}

static void watch_listener(bool on) {
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	if (on == listening) return;
	listening = on;
	epoll_ctl(epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener, &event);
}

static void watch(struct connection *c) {
	bool output = c->output_sent < c->output_length;
	/* While answers wait for the client to read them no more requests are taken: its pipeline is its own to fill. */
	bool input = c->phase == phase_closing || (!c->last && !output);
	struct epoll_event event = { .events = (input ? EPOLLIN : 0u) | (output ? EPOLLOUT : 0u), .data.ptr = c };
	if (event.events == c->watched) return;
	c->watched = event.events;
	epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void drop(struct connection *c) {
	close(c->fd);
	c->phase = phase_free;
	connection_count--;
	watch_listener(true);
}

/* Sends FIN and reads on until the client has closed, too. */
static void begin_close(struct connection *c) {
	shutdown(c->fd, SHUT_WR);
	c->phase = phase_closing;
	c->active_at_ms = now_ms();
	watch(c);
}

static void respond(struct connection *c, int status, const char *reason, const char *type, const char *body, bool head) {
	size_t length = strlen(body);
	int written = snprintf(c->output + c->output_length, output_bytes_max - c->output_length,
	                       "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
	                       "Cache-Control: no-store\r\nConnection: %s\r\n\r\n%s",
	                       status, reason, type, length, c->last ? "close" : "keep-alive", head ? "" : body);
	c->output_length += (size_t)written;
}

/* The value of a header in `head` (which ends with a NUL), or NULL. */
static const char *header(const char *head, const char *name) {
	size_t length = strlen(name);
	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
			line += length + 1;
			while (*line == ' ' || *line == '\t') line++;
			return line;
		}
	}
	return NULL;
}

static bool header_holds(const char *head, const char *name, const char *word) {
	const char *value = header(head, name);
	if (!value) return false;
	const char *end = strstr(value, "\r\n");
	const char *found = strcasestr(value, word);
	return found && (!end || found < end);
}

static void answer(struct connection *c, char *head) {
	char body[shown_bytes_max * 5];
	char *method = head;
	char *target = strchr(head, ' ');
	char *version = target ? strchr(target + 1, ' ') : NULL;
	if (!version || strncmp(version + 1, "HTTP/1.", 7) != 0) {
		c->last = true;
		respond(c, 400, "Bad Request", "text/plain", "bad request\n", false);
		return;
	}
	bool old = version[8] == '0';
	const char *length = header(head, "Content-Length");
	char *length_end = NULL;
	c->skip = length ? strtoll(length, &length_end, 10) : 0;
	bool bad_length = length && (c->skip < 0 || length_end == length || *length_end != '\r');
	/* A body of unknown length would have to be parsed to find the next request. */
	bool chunked = header(head, "Transfer-Encoding") != NULL;
	if (bad_length || chunked) c->skip = 0;
	c->last = leaving || bad_length || chunked || header_holds(head, "Connection", "close") ||
	          (old && !header_holds(head, "Connection", "keep-alive"));
	bool json = header_holds(head, "Accept", "application/json");
	*target++ = 0;
	*version = 0;
	target[strcspn(target, "?")] = 0;

	bool is_head = strcmp(method, "HEAD") == 0;
	if (bad_length) {
		respond(c, 400, "Bad Request", "text/plain", "bad Content-Length\n", is_head);
	} else if (chunked) {
		respond(c, 411, "Length Required", "text/plain", "send a Content-Length\n", is_head);
	} else if (strcmp(target, "/healthz") == 0) {
		if (settings.fail_health) respond(c, 503, "Service Unavailable", "text/plain", "failing on request\n", is_head);
		else respond(c, 200, "OK", "text/plain", "ok\n", is_head);
	} else if (strcmp(target, "/json") == 0 || (strcmp(target, "/") == 0 && json)) {
		snprintf(body, sizeof body,
		         "{\"service\":\"%s\",\"task\":\"%s\",\"node\":\"%s\",\"version\":\"%s\",\"client\":\"%s\"}\n",
		         settings.service, settings.task, settings.node, settings.version, c->client);
		respond(c, 200, "OK", "application/json", body, is_head);
	} else if (strcmp(target, "/") == 0) {
		snprintf(body, sizeof body, "service %s\ntask    %s\nnode    %s\nversion %s\nclient  %s\n", settings.service,
		         settings.task, settings.node, settings.version, c->client);
		respond(c, 200, "OK", "text/plain", body, is_head);
	} else {
		respond(c, 404, "Not Found", "text/plain", "not found\n", is_head);
	}
}

static void skip_body(struct connection *c) {
	size_t bytes = c->skip < (long long)c->input_length ? (size_t)c->skip : c->input_length;
	memmove(c->input, c->input + bytes, c->input_length - bytes);
	c->input_length -= bytes;
	c->skip -= (long long)bytes;
}

/* Answers every complete request in the buffer that there is room to answer. */
static void answer_all(struct connection *c) {
	while (!c->last && output_bytes_max - c->output_length >= response_bytes_max) {
		skip_body(c);
		/* RFC 9112 2.2: an empty line before a request is ignored. */
		while (c->input_length >= 2 && memcmp(c->input, "\r\n", 2) == 0) {
			c->skip = 2;
			skip_body(c);
		}
		char *end = c->skip ? NULL : memmem(c->input, c->input_length, "\r\n\r\n", 4);
		if (!end && !c->skip && c->input_length == request_bytes_max) {
			c->last = true;
			respond(c, 431, "Request Header Fields Too Large", "text/plain", "request head too large\n", false);
		}
		if (!end) return;
		size_t head_length = (size_t)(end - c->input) + 4;
		if (memchr(c->input, 0, head_length)) {
			c->last = true;
			respond(c, 400, "Bad Request", "text/plain", "bad request\n", false);
			return;
		}
		/* The last header line keeps its CRLF for header(); the empty line's first byte becomes the end. */
		end[2] = 0;
		answer(c, c->input);
		memmove(c->input, c->input + head_length, c->input_length - head_length);
		c->input_length -= head_length;
	}
}

/* False: the connection is gone. */
static bool write_out(struct connection *c) {
	while (c->output_sent < c->output_length) {
		ssize_t sent = send(c->fd, c->output + c->output_sent, c->output_length - c->output_sent, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR) continue;
		if (sent < 0 && errno == EAGAIN) return true;
		if (sent < 0) {
			drop(c);
			return false;
		}
		c->output_sent += (size_t)sent;
		c->active_at_ms = now_ms();
	}
	c->output_length = c->output_sent = 0;
	return true;
}

/* Answers and writes until there is nothing left to do with what has been read. */
static void proceed(struct connection *c) {
	for (;;) {
		size_t before = c->input_length;
		answer_all(c);
		if (!write_out(c)) return;
		bool written = c->output_length == 0;
		if (written && c->last) {
			begin_close(c);
			return;
		}
		if (!written || c->input_length == before) break;
	}
	watch(c);
}

static void serve(struct connection *c, uint32_t events) {
	char sink[4096];
	if (c->phase == phase_closing) {
		ssize_t got;
		while ((got = read(c->fd, sink, sizeof sink)) > 0) continue;
		if (got == 0 || (errno != EAGAIN && errno != EINTR)) drop(c);
		return;
	}
	if (events & EPOLLIN && c->input_length < request_bytes_max) {
		ssize_t got = read(c->fd, c->input + c->input_length, request_bytes_max - c->input_length);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
			drop(c);
			return;
		}
		if (got > 0) {
			c->input_length += (size_t)got;
			c->active_at_ms = now_ms();
		}
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		drop(c);
		return;
	}
	proceed(c);
}

/* Takes every waiting connection. Above the limit they wait in the kernel's backlog. */
static void accept_all(void) {
	int search = 0, one = 1;
	while (connection_count < connections_max) {
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		int fd = accept4(listener, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
		if (fd < 0) return;
		while (connections[search].phase != phase_free) search++;
		struct connection *c = &connections[search];
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		c->phase = phase_open;
		c->fd = fd;
		c->skip = 0;
		c->last = false;
		c->input_length = c->output_length = c->output_sent = 0;
		c->active_at_ms = now_ms();
		char address[INET_ADDRSTRLEN] = "";
		inet_ntop(AF_INET, &from.sin_addr, address, sizeof address);
		snprintf(c->client, sizeof c->client, "%s:%d", address, ntohs(from.sin_port));
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
		c->watched = event.events;
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
		connection_count++;
	}
	watch_listener(false);
}

/* Closes what has been silent for too long. Returns when to look again, in ms from now. */
static int close_silent(void) {
	long long now = now_ms();
	int wait_ms = connection_count ? 500 : -1;
	if (leaving) wait_ms = 50;
	for (int i = 0; i < connections_max; i++) {
		struct connection *c = &connections[i];
		if (c->phase == phase_free) continue;
		/* A client that is about to send on this connection must not be cut off: the linger counts from SIGTERM. */
		long long since = leaving && c->active_at_ms < leaving_since_ms ? leaving_since_ms : c->active_at_ms;
		if (c->phase == phase_closing && now - c->active_at_ms >= close_linger_ms) drop(c);
		else if (c->phase == phase_open && now - since >= (leaving ? leave_linger_ms : idle_ms)) begin_close(c);
	}
	if (settings.exit_at_ms) {
		long long left = settings.exit_at_ms - now;
		if (left < 0) left = 0;
		if (wait_ms < 0 || left < wait_ms) wait_ms = (int)left;
	}
	return wait_ms;
}

/*
 * After SIGTERM the server goes on accepting and serving: a balancer that stopped sending a moment ago may have
 * connections on the way. It ends when every connection is closed, or after leave_ms_max.
 */
static bool leave(void) {
	if (!leaving) return false;
	if (!leaving_since_ms) {
		leaving_since_ms = now_ms();
		printf("demo %s: stopping, %d open connections\n", settings.version, connection_count);
	}
	accept_all();
	return connection_count == 0 || now_ms() - leaving_since_ms >= leave_ms_max;
}

static int run_server(void) {
	struct sigaction action = { .sa_handler = on_signal };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	sigset_t blocked, waiting;
	int one = 1;
	/* As process 1 the kernel drops signals without a handler. They are let in only while epoll_pwait sleeps. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &waiting);
	sigdelset(&waiting, SIGTERM);
	sigdelset(&waiting, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* Orphans of an exec become children of process 1: with SIGCHLD ignored the kernel reaps them. */
	signal(SIGCHLD, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0) {
		fprintf(stderr, "demo: cannot listen on port %d: %s\n", port, strerror(errno));
		return 1;
	}
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0) {
		fprintf(stderr, "demo: epoll_create1: %s\n", strerror(errno));
		return 1;
	}
	watch_listener(true);
	printf("demo %s: serving on port %d\n", settings.version, port);

	for (;;) {
		struct epoll_event events[64];
		int wait_ms = close_silent();
		if (leave()) break;
		if (settings.exit_at_ms && now_ms() >= settings.exit_at_ms) {
			printf("demo %s: exiting with %d, as DEMO_EXIT_AFTER says\n", settings.version, settings.exit_code);
			return settings.exit_code;
		}
		int ready = epoll_pwait(epoll, events, 64, wait_ms, &waiting);
		for (int i = 0; i < ready; i++) {
			struct connection *c = events[i].data.ptr;
			if (!c) accept_all();
			else if (c->phase != phase_free) serve(c, events[i].events);
		}
	}
	printf("demo %s: stopped\n", settings.version);
	return 0;
}

static int run_healthcheck(void) {
	static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval timeout = { .tv_sec = 2 };
	char reply[1024];
	size_t length = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		printf("cannot connect to port %d: %s\n", port, strerror(errno));
		return 1;
	}
	if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0) {
		printf("cannot send: %s\n", strerror(errno));
		return 1;
	}
	for (ssize_t got; length < sizeof reply - 1 && (got = read(fd, reply + length, sizeof reply - 1 - length)) > 0;)
		length += (size_t)got;
	reply[length] = 0;
	const char *body = strstr(reply, "\r\n\r\n");
	printf("%s", body ? body + 4 : "no answer\n");
	return strncmp(reply, "HTTP/1.1 200 ", 13) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
	if (argc == 2 && strcmp(argv[1], "healthcheck") == 0) return run_healthcheck();
	if (argc > 1) {
		fprintf(stderr, "usage: demo [healthcheck]\n");
		return 2;
	}
	read_settings();
	eat_memory();
	return run_server();
}
