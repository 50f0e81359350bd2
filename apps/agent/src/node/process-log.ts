/** The agent's log: one JSON object per line on standard output. */
import { describeError, type NodeConfig } from '#libs/model';
import { pino } from 'pino';
import type { Log } from './log.js';

export function createLog(config: Pick<NodeConfig, 'logLevel' | 'nodeName'>): Log {
  // Written at once: the last lines before a crash are the ones that matter.
  const logger = pino(
    { level: config.logLevel, base: { process: 'agent', node: config.nodeName } },
    pino.destination({ dest: 1, sync: true }),
  );
  return (level, message, fields = {}) => {
    const { error, ...rest } = fields;
    const stack = error instanceof Error ? { stack: error.stack } : {};
    const described = error === undefined ? {} : { error: describeError(error), ...stack };
    logger[level]({ ...rest, ...described }, message);
  };
}
