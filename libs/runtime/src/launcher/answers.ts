/** The answers of launcher and shim, decoded. */
import type { ContainerExit } from '../port.js';
import type { LaunchFailure, LaunchSuccess } from './outcome.js';
import type { PayloadReader } from './wire.js';

export function readStarted(payload: PayloadReader): LaunchSuccess {
  return { ok: true, pid: payload.u32(), startedAtMs: Number(payload.u64()) };
}

export function readFailed(payload: PayloadReader): LaunchFailure {
  const errno = payload.i32();
  const exitCode = payload.i32();
  const step = payload.text();
  const reason = payload.text();
  const message = reason === '' ? step : `${step}: ${reason.toLowerCase()}`;
  return { ok: false, step, errno, message, exitCode };
}

export function readExit(payload: PayloadReader): ContainerExit {
  const exitCode = payload.i32();
  const signal = payload.i32();
  const oomKilled = payload.u32() !== 0;
  const finishedAtMs = Number(payload.u64());
  const error = payload.text();
  return {
    exitCode,
    ...(signal === 0 ? {} : { signal }),
    oomKilled,
    finishedAtMs,
    ...(error === '' ? {} : { error }),
  };
}
