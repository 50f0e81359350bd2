/** Docker's progress: JSON documents one after another in an answer that has begun before its end is known. */
import type { ApiResponse } from '#libs/docker-api';
import { describeError } from '#libs/model';
import type { Progress } from '#libs/images';
import type { ServerResponse } from 'node:http';

export interface ProgressStream {
  write(line: Progress): void;
}

/**
 * Runs `work` and streams what it writes. A failure before the first line is thrown, so that it gets its own status;
 * one that comes later is the last line.
 */
export async function streamProgress(
  response: ApiResponse,
  work: (stream: ProgressStream) => Promise<void>,
): Promise<void> {
  let output: ServerResponse | undefined;
  const send = (line: object): void => {
    output ??= response.stream(200, { 'Content-Type': 'application/json' });
    output.write(`${JSON.stringify(line)}\r\n`);
  };
  try {
    await work({ write: send });
  } catch (error) {
    if (output === undefined) throw error;
    const message = describeError(error);
    send({ errorDetail: { message }, error: message });
  }
  if (output === undefined) output = response.stream(200, { 'Content-Type': 'application/json' });
  output.end();
}
