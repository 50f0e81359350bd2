/** Short runs of the kernel's own tools. */
import { spawn } from 'node:child_process';
import { EnxameError } from '#libs/model';

const commandTimeoutMs = 20_000;
/** Enough for a routing table of a large cluster; errors are cut far earlier. */
const outputBytesMax = 64 * 1024 * 1024;
const errorTextLengthMax = 600;

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end with `input` on its standard input. Rejects only when it cannot run or runs too long. */
export function runCommand(program: string, args: readonly string[], input = ''): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: commandTimeoutMs,
      killSignal: 'SIGKILL',
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let stdoutBytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      stdoutBytes += chunk.length;
      if (stdoutBytes <= outputBytesMax) stdout.push(chunk);
      else child.kill('SIGKILL');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < 64) stderr.push(chunk);
    });
    // A tool that ends early closes its input; its exit code tells the story better than EPIPE does.
    child.stdin.on('error', () => undefined);
    child.once('error', (cause) => {
      reject(new EnxameError('failed-precondition', `cannot run ${program}`, { cause }));
    });
    child.once('close', (code, signal) => {
      if (signal !== null) {
        reject(new EnxameError('deadline-exceeded', `${program} ${args.join(' ')} was ended by ${signal}`));
        return;
      }
      resolve({
        code: code ?? 1,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString().slice(0, errorTextLengthMax).trim(),
      });
    });
    child.stdin.end(input);
  });
}

/** Runs a program that must succeed, and gives its output. */
export async function mustRun(program: string, args: readonly string[], input = ''): Promise<string> {
  const result = await runCommand(program, args, input);
  if (result.code !== 0) {
    throw new EnxameError(
      'internal',
      `${program} ${args.join(' ')} failed: ${result.stderr || `exit code ${result.code}`}`,
    );
  }
  return result.stdout;
}
