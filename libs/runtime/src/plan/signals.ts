/** Signals by the names and numbers Docker takes: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`. */
import { EnxameError } from '#libs/model';
import { constants } from 'node:os';

const realTimeMin = 34;
const realTimeMax = 64;

/** Throws `invalid-argument` for what is no signal of Linux. */
export function signalNumber(signal: string): number {
  const text = signal.trim().toUpperCase();
  const number = /^\d{1,2}$/.test(text)
    ? Number(text)
    : namedSignal(text.startsWith('SIG') ? text : `SIG${text}`);
  if (number === undefined || number < 1 || number > realTimeMax) {
    throw new EnxameError('invalid-argument', `invalid signal: ${signal}`);
  }
  return number;
}

function namedSignal(name: string): number | undefined {
  const realTime = /^SIGRT(MIN|MAX)([+-]\d{1,2})?$/.exec(name);
  if (realTime === null) return constants.signals[name as keyof typeof constants.signals];
  const number = (realTime[1] === 'MIN' ? realTimeMin : realTimeMax) + Number(realTime[2] ?? 0);
  return number >= realTimeMin && number <= realTimeMax ? number : undefined;
}
