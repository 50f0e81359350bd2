/** `GET /containers/:id/logs`. */
import { multiplexFrame, parseTimestamp, queryFlag, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerState, LogLine } from '#libs/runtime';
import type { ServerResponse } from 'node:http';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';

export function logRoute({ runtime }: ContainerRouteDependencies): Route {
  return {
    method: 'GET',
    path: '/containers/:id/logs',
    async handler(request, response) {
      const { query } = request;
      const state = existingContainer(runtime, request.params['id']);
      const stdout = queryFlag(query, 'stdout');
      const stderr = queryFlag(query, 'stderr');
      if (!stdout && !stderr) {
        throw new EnxameError('invalid-argument', 'Bad parameters: you must choose at least one stream');
      }
      const sinceNano = parseTimestamp(query.get('since'), 'since');
      const untilNano = parseTimestamp(query.get('until'), 'until');
      const tail = tailOf(query.get('tail'));
      const lines = runtime.logs(state.config.id, {
        follow: queryFlag(query, 'follow'),
        stdout,
        stderr,
        signal: request.signal,
        ...(tail === undefined ? {} : { tail }),
        ...(sinceNano === undefined ? {} : { sinceNano }),
        ...(untilNano === undefined ? {} : { untilNano }),
      });
      const kind = state.config.tty ? 'raw-stream' : 'multiplexed-stream';
      const output = response.stream(200, { 'Content-Type': `application/vnd.docker.${kind}` });
      const show = lineFormat(state, {
        timestamps: queryFlag(query, 'timestamps'),
        details: queryFlag(query, 'details'),
      });
      for await (const line of lines) {
        if (!output.write(show(line))) await drained(output, request.signal);
        if (request.signal.aborted) break;
      }
      output.end();
    },
  };
}

function lineFormat(
  state: ContainerState,
  options: { timestamps: boolean; details: boolean },
): (line: LogLine) => Buffer {
  return (line) => {
    const stamp = options.timestamps ? `${presentNano(line.timeNano)} ` : '';
    // Log options that would add attributes to a line are not available, so there are none to show.
    const prefix = options.details ? `${stamp} ` : stamp;
    const data = prefix === '' ? line.data : Buffer.concat([Buffer.from(prefix), line.data]);
    return state.config.tty ? data : multiplexFrame(line.stream === 'stdout' ? 1 : 2, data);
  };
}

/** Always nine decimals, so that lines align. */
export function presentNano(timeNano: string): string {
  const nano = BigInt(timeNano);
  const seconds = new Date(Number(nano / 1_000_000_000n) * 1_000).toISOString().slice(0, 19);
  return `${seconds}.${(nano % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}

function tailOf(text: string | null): number | undefined {
  if (text === null || text === '' || text === 'all') return undefined;
  const lines = Number(text);
  // Docker takes anything that is no number, and negative ones, for all.
  return Number.isInteger(lines) && lines >= 0 ? lines : undefined;
}

function drained(output: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      output.off('drain', done);
      output.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    output.once('drain', done);
    output.once('close', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted || output.destroyed) done();
  });
}
