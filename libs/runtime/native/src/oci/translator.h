/* The part of the command that TypeScript does: config.json becomes a plan. */
#ifndef ENXAME_OCI_TRANSLATOR_H
#define ENXAME_OCI_TRANSLATOR_H

#include "../wire.h"
#include "options.h"

/* Before become_sealed(), which hides where this program is. */
void find_translator(void);
/* Runs it with a command, operands (NULL-terminated) and the options that only it knows; `bytes` takes what it prints. */
int translate(const struct options *options, const char *command, char *const operands[], struct buffer *bytes,
              struct error *err);
/* It takes over this process. */
int become_translator(const char *command, char *const operands[], struct error *err);

#endif
