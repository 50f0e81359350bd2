/** `GET /containers/:id/logs`. */
import { parseTimestamp, queryFlag, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { drained, frameLines, linePrefix } from './log-frames.js';
import { logAttributes } from './request/log-options.js';

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
      if (state.config.log.driver === 'none') {
        throw new EnxameError('not-implemented', 'configured logging driver does not support reading');
      }
      const sinceNano = parseTimestamp(query.get('since'), 'since');
      const untilNano = parseTimestamp(query.get('until'), 'until');
      const tail = tailOf(query.get('tail'));
      const batches = runtime.logs(state.config.id, {
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
      const prefix = linePrefix({
        timestamps: queryFlag(query, 'timestamps'),
        details: queryFlag(query, 'details'),
        attributes: logAttributes(state.config),
      });
      for await (const lines of batches) {
        if (!output.write(frameLines(lines, state.config.tty, prefix))) await drained(output, request.signal);
        if (request.signal.aborted) break;
      }
      output.end();
    },
  };
}

function tailOf(text: string | null): number | undefined {
  if (text === null || text === '' || text === 'all') return undefined;
  const lines = Number(text);
  // Docker takes anything that is no number, and negative ones, for all.
  return Number.isInteger(lines) && lines >= 0 ? lines : undefined;
}
