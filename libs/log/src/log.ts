/** The log of a node's processes: one JSON object per line on standard output, which whoever started them keeps. */
import { describeError, type NodeConfig } from '#libs/model';
import { pino } from 'pino';
import { sourcePositions } from './source-positions.js';

/** How the parts of a process tell what happened; its main file decides where it goes. */
export type Log = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  fields?: Record<string, unknown>,
) => void;

export function createLog(
  process: 'agent' | 'manager',
  config: Pick<NodeConfig, 'logLevel' | 'nodeName'>,
): Log {
  // Written at once: the last lines before a crash are the ones that matter.
  const logger = pino(
    { level: config.logLevel, base: { process, node: config.nodeName } },
    pino.destination({ dest: 1, sync: true }),
  );
  return (level, message, fields = {}) => {
    const { error, ...rest } = fields;
    const stack = error instanceof Error ? { stack: sourcePositions(error.stack ?? '') } : {};
    const described = error === undefined ? {} : { error: describeError(error), ...stack };
    logger[level]({ ...rest, ...described }, message);
  };
}
