/** `enxame cluster backup`: the state of a running cluster, from the private socket of one of its managers. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { UserError } from '../user-error.js';
import { endOf } from './backup-file.js';

export interface BackupCommand {
  managerSocket: string;
  output?: string;
}

const answerWaitMs = 30_000;

export async function backup({ managerSocket, output }: BackupCommand): Promise<void> {
  if (output === undefined && process.stdout.isTTY) {
    throw new UserError('a backup is not for a terminal: add > FILE, or --output FILE');
  }
  const answer = await ask(managerSocket);
  const target: Writable = output === undefined ? process.stdout : createWriteStream(output, { mode: 0o600 });
  const failed = once(target, 'error').then(([error]) => Promise.reject(error as Error));
  failed.catch(() => undefined);
  const hash = createHash('sha256');
  let bytes = 0;
  // The last line is not part of what it sums up.
  let held = Buffer.alloc(0);
  for await (const part of answer as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (!target.write(part)) await Promise.race([once(target, 'drain'), failed]);
    held = Buffer.concat([held, part]);
    const lastLine = held.lastIndexOf(10, held.length - 2) + 1;
    hash.update(held.subarray(0, lastLine));
    held = held.subarray(lastLine);
  }
  if (target !== process.stdout) {
    target.end();
    await Promise.race([once(target, 'close'), failed]);
  }
  if (endOf(held.toString('utf8')) !== hash.digest('hex'))
    throw new UserError('the backup broke off; make it again');
  console.error(`${bytes} bytes. Keep them secret (chmod 600): the key of the cluster's CA is among them.`);
}

function ask(socketPath: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath, path: '/_enxame/backup', agent: false, timeout: answerWaitMs },
      (answer) => {
        if (answer.statusCode === 200) return resolve(answer);
        text(answer).then(
          (body) => reject(new UserError(`the manager answered ${answer.statusCode}: ${body}`)),
          reject,
        );
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${answerWaitMs} ms`)));
    call.on('error', (error) =>
      reject(new UserError(`cannot reach a manager at ${socketPath}: ${error.message}`)),
    );
    call.end();
  });
}
