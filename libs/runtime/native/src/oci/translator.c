#include "translator.h"

#include "../cleanup.h"
#include "../kernel.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { READ_BYTES = 65536, OPERANDS_MAX = 1024, WORDS_BYTES_MAX = 399 };

static const char place[] = "ENXAME_RUNTIME_TRANSLATOR";
static const char script[] = "dist/programs/runtime-translator.cjs";

/* This program is libs/runtime/native/build/enxame-runtime of the project that the script belongs to. */
void find_translator(void) {
  char path[PATH_MAX], found[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length < 0 || !strncmp(path, "/memfd:", 7)) return;
  path[length] = 0;
  for (int up = 0; up < 5; up++) {
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
  }
  if (snprintf(found, sizeof found, "%s/%s", path, script) < (int)sizeof found) setenv(place, found, 1);
}

static void execute(char **argv) {
  static const char *const places[] = {NODE_PATH, "/usr/local/bin/node", "/usr/bin/node"};
  execvp(argv[0], argv);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) execv(places[i], argv);
}

static char **command_line(const char *command, char *const operands[], const struct options *options) {
  char **argv = calloc(OPERANDS_MAX + TRANSLATOR_ARGUMENTS_MAX + 8, sizeof *argv);
  int count = 0;
  if (!argv) return NULL;
  argv[count++] = (char *)(uintptr_t)"node";
  argv[count++] = (char *)(uintptr_t)"--no-warnings";
  argv[count++] = getenv(place);
  argv[count++] = (char *)(uintptr_t)command;
  for (int i = 0; options && i < options->translated_count; i++) argv[count++] = options->translated[i];
  for (int i = 0; operands[i] && i < OPERANDS_MAX; i++) argv[count++] = operands[i];
  return argv;
}

int become_translator(const char *command, char *const operands[], struct error *err) {
  autofree char **argv = command_line(command, operands, NULL);
  if (!argv || !argv[2]) return fail(err, ENOENT, "find the translator");
  execute(argv);
  return fail(err, errno, "run node");
}

__attribute__((noreturn)) static void run(char **argv, int out, int words) {
  autoclose int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (dup2(nothing, 0) >= 0 && dup2(out, 1) >= 0 && dup2(words, 2) >= 0 && sys_close_range(3, ~0U, 0) == 0) execute(argv);
  dprintf(2, "run node: %s", strerror(errno));
  _exit(EXIT_NOT_FOUND);
}

static bool read_all(int fd, struct buffer *bytes) {
  for (;;) {
    uint8_t *room = buffer_reserve(bytes, READ_BYTES);
    ssize_t length = room ? read(fd, room, READ_BYTES) : -1;
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return length == 0;
    bytes->end += (size_t)length;
  }
}

/* Its words are few: they fit in the pipe while the plan is read. */
static int refuse_in_its_words(int fd, struct error *err) {
  struct buffer words = {0};
  read_all(fd, &words);
  size_t length = buffer_length(&words);
  while (length > 0 && words.data[words.start + length - 1] == '\n') length--;
  int shown = length > WORDS_BYTES_MAX ? WORDS_BYTES_MAX : (int)length;
  fail(err, 0, "%.*s", shown, length ? (const char *)words.data + words.start : "");
  if (length == 0) fail(err, 0, "the translator ended without a word");
  buffer_free(&words);
  return -1;
}

int translate(const struct options *options, const char *command, char *const operands[], struct buffer *bytes,
              struct error *err) {
  int out[2], words[2];
  autofree char **argv = command_line(command, operands, options);
  if (!argv || !argv[2]) return fail(err, ENOENT, "find the translator");
  if (pipe2(out, O_CLOEXEC) < 0) return fail(err, errno, "make a pipe");
  autoclose int plan = out[0];
  if (pipe2(words, O_CLOEXEC) < 0) {
    close(out[1]);
    return fail(err, errno, "make a pipe");
  }
  autoclose int said = words[0];
  pid_t pid = fork();
  if (pid == 0) run(argv, out[1], words[1]);
  int code = errno;
  close(out[1]);
  close(words[1]);
  if (pid < 0) return fail(err, code, "fork the translator");
  bool whole = read_all(plan, bytes);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (!WIFEXITED(status) || WEXITSTATUS(status)) return refuse_in_its_words(said, err);
  return whole ? 0 : fail(err, errno, "read the plan");
}
