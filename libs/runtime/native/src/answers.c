#include "answers.h"

#include <stdio.h>
#include <string.h>

/* The payload is built first, so that a frame is whole or not there. */
static bool append_answer(struct buffer *out, enum frame_type type, struct buffer *payload, bool complete) {
  complete = complete && append_frame(out, type, payload->data, payload->end);
  buffer_free(payload);
  return complete;
}

bool answer_started(struct buffer *out, const uint32_t *request, pid_t pid, int64_t started_ms) {
  struct buffer payload = {0};
  bool complete = (!request || append_u32(&payload, *request)) && append_u32(&payload, (uint32_t)pid) &&
                  append_u64(&payload, (uint64_t)started_ms);
  return append_answer(out, FRAME_STARTED, &payload, complete);
}

bool answer_failed(struct buffer *out, const uint32_t *request, const struct error *error) {
  struct buffer payload = {0};
  bool complete = (!request || append_u32(&payload, *request)) && append_u32(&payload, (uint32_t)error->code) &&
                  append_u32(&payload, (uint32_t)error->exit_code) && append_string(&payload, error->step) &&
                  append_string(&payload, error->code ? strerror(error->code) : "");
  return append_answer(out, FRAME_FAILED, &payload, complete);
}

bool answer_exit(struct buffer *out, const struct exit_record *record) {
  struct buffer payload = {0};
  bool complete = append_u32(&payload, (uint32_t)record->exit_code) && append_u32(&payload, (uint32_t)record->signal) &&
                  append_u32(&payload, record->oom_killed) && append_u64(&payload, (uint64_t)record->finished_ms) &&
                  append_string(&payload, record->error);
  return append_answer(out, FRAME_EXIT, &payload, complete);
}

void describe_error(const struct error *error, char *text, size_t size) {
  if (error->code) snprintf(text, size, "%s: %s", error->step, strerror(error->code));
  else snprintf(text, size, "%s", error->step);
}
