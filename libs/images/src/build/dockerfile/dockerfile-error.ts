import { EnxameError } from '#libs/model';

/** A Dockerfile that cannot be read: the line and the rule, in Docker's words. */
export function dockerfileError(line: number, message: string): EnxameError {
  return new EnxameError('invalid-argument', `dockerfile parse error on line ${line}: ${message}`);
}
