import type { ClusterEvent } from '#libs/model';
import { expect } from 'chai';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { streamEvents, type EventSource } from './event-stream.js';
import type { ApiRequest, ApiResponse } from './port.js';

const atMs = 1_795_484_204_000;
const event: ClusterEvent = {
  Type: 'service',
  Action: 'create',
  Actor: { ID: 'abc', Attributes: { name: 'web' } },
  scope: 'swarm',
  time: atMs / 1000,
  timeNano: atMs * 1_000_000,
};

async function answerTo(query: string, source: EventSource): Promise<string[]> {
  const output = new PassThrough();
  const request = { query: new URLSearchParams(query), signal: new AbortController().signal };
  const response = { stream: () => output };
  const whole = text(output);
  await streamEvents(
    source,
    request as unknown as ApiRequest,
    response as unknown as ApiResponse,
    atMs + 60_000,
  );
  return (await whole).split('\n').filter((line) => line !== '');
}

describe('a stream of events', () => {
  it('waits for a history that takes its time, though the range is past', async () => {
    const lines = await answerTo(
      `since=${atMs / 1000 - 5}&until=${atMs / 1000 + 5}`,
      async function* ({ signal }) {
        await pause(30);
        if (!signal.aborted) yield event;
      },
    );
    expect(lines).to.have.length(1);
    expect(JSON.parse(lines[0] ?? '')).to.include({ Type: 'service', Action: 'create' });
  });

  it('ends a followed range when its time has come', async () => {
    const lines = await answerTo(`until=${(atMs + 60_050) / 1000}`, async function* ({ signal }) {
      yield event;
      await pause(10_000, undefined, { signal });
    });
    expect(lines).to.have.length(1);
  });
});
