/* Who the program is: limits, ids, capabilities, seccomp; and the exec itself. The last steps inside. */
#ifndef ENXAME_IDENTITY_H
#define ENXAME_IDENTITY_H

#include "plan.h"

/* Descriptors 0 to 2 belong to the user of the plan afterwards, so that /dev/stdout can be opened by name. */
int give_stdio(const struct plan *plan, struct error *err);
/* Everything that needs a right that the program itself may not have. Effective rights are then the program's. */
int become_user(const struct plan *plan, struct error *err);
/* Where the program is, searched with the program's own rights. */
int find_program(const struct plan *plan, char path[4096], struct error *err);
/* seccomp, then the last right goes. After this nothing but exec is sure to be allowed. */
int drop_last_rights(const struct plan *plan, struct error *err);

#endif
