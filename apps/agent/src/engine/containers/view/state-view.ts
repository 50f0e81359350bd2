/** A container's state in Docker's words. */
import { rfc3339Nano, zeroTime } from '#libs/docker-api';
import type { ContainerState, HealthState } from '#libs/runtime';
import { durationWords } from './duration-words.js';

export type StateWord = 'created' | 'running' | 'paused' | 'restarting' | 'exited';

/** One whose program never ran is still only created, whatever its failed start has left. */
export function stateWord(state: ContainerState): StateWord {
  if (state.restarting) return 'restarting';
  if (state.phase === 'running') return state.paused ? 'paused' : 'running';
  return state.phase === 'exited' && hasRun(state) ? 'exited' : 'created';
}

function hasRun({ startedAtMs, lastFinishedAtMs }: ContainerState): boolean {
  return startedAtMs !== undefined || lastFinishedAtMs !== undefined;
}

export function statusWords(state: ContainerState, nowMs: number): string {
  const ago = (): string => `${durationWords(nowMs - (state.exit?.finishedAtMs ?? nowMs))} ago`;
  const up = (): string => `Up ${durationWords(nowMs - (state.startedAtMs ?? nowMs))}`;
  switch (stateWord(state)) {
    case 'created':
      return 'Created';
    case 'paused':
      return `${up()} (Paused)`;
    case 'running': {
      const { status } = state.health;
      if (status === 'none') return up();
      return `${up()} (${status === 'starting' ? 'health: starting' : status})`;
    }
    case 'restarting':
      return `Restarting (${state.exit?.exitCode ?? 0}) ${ago()}`;
    case 'exited':
      return `Exited (${state.exit?.exitCode ?? 0}) ${ago()}`;
  }
}

export function presentState(state: ContainerState): Record<string, unknown> {
  const { exit, health } = state;
  const word = stateWord(state);
  const finishedAtMs = word === 'created' ? undefined : (exit?.finishedAtMs ?? state.lastFinishedAtMs);
  const isUp = word === 'running' || word === 'paused' || word === 'restarting';
  return {
    Status: word,
    Running: isUp,
    Paused: word === 'paused',
    Restarting: word === 'restarting',
    OOMKilled: exit?.oomKilled ?? false,
    Dead: false,
    Pid: state.pid,
    ExitCode: exit?.exitCode ?? 0,
    Error: exit?.error ?? '',
    StartedAt: state.startedAtMs === undefined ? zeroTime : rfc3339Nano(state.startedAtMs),
    FinishedAt: finishedAtMs === undefined ? zeroTime : rfc3339Nano(finishedAtMs),
    ...(health.status === 'none' ? {} : { Health: presentHealth(health) }),
  };
}

function presentHealth(health: HealthState): Record<string, unknown> {
  return {
    Status: health.status,
    FailingStreak: health.failingStreak,
    Log: health.log.map(({ startMs, endMs, exitCode, output }) => ({
      Start: rfc3339Nano(startMs),
      End: rfc3339Nano(endMs),
      ExitCode: exitCode,
      Output: output,
    })),
  };
}
