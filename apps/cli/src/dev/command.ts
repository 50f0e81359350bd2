import { spawnSync } from 'node:child_process';

/** Runs a short command to its end. Throws with the command and what it said. */
export function runCommand(command: string, args: readonly string[], input?: string): string {
  const result = spawnSync(command, args, { encoding: 'utf8', ...(input === undefined ? {} : { input }) });
  if (result.error) throw new Error(`${command}: ${result.error.message}`);
  if (result.status !== 0) {
    throw new Error(
      `${command} ${args.join(' ')}: ${result.stderr.trim() || `ended with ${result.status ?? result.signal}`}`,
    );
  }
  return result.stdout;
}

/** The same for clean-up, where the thing may be gone already. */
export function tryCommand(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
