/** Something the user can put right: printed as one line, without a stack. */
export class UserError extends Error {}
