/* The frames that answer. The launcher's carry the `request` they answer in front, a shim's (NULL) do not. */
#ifndef ENXAME_ANSWERS_H
#define ENXAME_ANSWERS_H

#include "exit_record.h"
#include "process.h"

bool answer_started(struct buffer *out, const uint32_t *request, pid_t pid, int64_t started_ms);
bool answer_failed(struct buffer *out, const uint32_t *request, const struct error *error);
bool answer_exit(struct buffer *out, const struct exit_record *record);
/* The step and its reason in one line. */
void describe_error(const struct error *error, char *text, size_t size);

#endif
