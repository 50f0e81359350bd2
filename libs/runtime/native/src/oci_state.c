#include "oci_state.h"

#include "json.h"

#include <stdio.h>
#include <string.h>

static bool append_text(struct buffer *text, const char *more) {
  return buffer_append(text, more, strlen(more));
}

static bool append_member(struct buffer *text, const char *name, const char *value) {
  return append_text(text, "\"") && append_text(text, name) && append_text(text, "\":\"") &&
         append_json(text, (const uint8_t *)value, strlen(value)) && append_text(text, "\",");
}

bool append_oci_state(struct buffer *text, const struct plan *plan, const char *status, pid_t pid) {
  const struct operation *state = find_operation(plan, OP_OCI_STATE);
  char number[32];
  snprintf(number, sizeof number, "\"pid\":%d,", pid);
  return append_text(text, "{") && append_member(text, "ociVersion", state ? state->oci_state.oci_version : "") &&
         append_member(text, "id", plan->id) && append_member(text, "status", status) && append_text(text, number) &&
         append_member(text, "bundle", state ? state->oci_state.bundle : "") && append_text(text, "\"annotations\":") &&
         append_text(text, state && *state->oci_state.annotations ? state->oci_state.annotations : "{}") &&
         append_text(text, "}");
}
