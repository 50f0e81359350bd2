import { EnxameError } from '#libs/model';
import type { LaunchFailure } from './launcher/outcome.js';

/** A program that could not be run, and the exit code a shell would give for that. */
export class StartFailure extends EnxameError {
  readonly exitCode: number;

  constructor(failure: LaunchFailure) {
    super('failed-precondition', failure.message);
    this.exitCode = failure.exitCode;
  }
}
