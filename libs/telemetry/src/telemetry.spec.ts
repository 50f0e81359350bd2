import { expect } from 'chai';
import type { ClusterEvent, NodeId, StatsSample } from '#libs/model';
import { createTelemetry } from './create-telemetry.js';
import type { Telemetry } from './port.js';

function event(action: string, atMs: number): ClusterEvent {
  const timeNano = atMs * 1_000_000;
  return {
    Type: 'service',
    Action: action,
    Actor: { ID: 's', Attributes: {} },
    scope: 'swarm',
    time: 1,
    timeNano,
  };
}

function sample(containerId: string, atMs: number): StatsSample {
  return {
    nodeId: 'n' as NodeId,
    containerId,
    atMs,
    cpuNanoseconds: 1,
    memoryBytes: 2,
    pids: 3,
    networkReceivedBytes: 4,
    networkSentBytes: 5,
  };
}

async function actions(
  telemetry: Telemetry,
  options: Partial<Parameters<Telemetry['events']>[0]>,
): Promise<string[]> {
  const found: string[] = [];
  const signal = new AbortController().signal;
  for await (const each of telemetry.events({ follow: false, signal, ...options })) found.push(each.Action);
  return found;
}

describe('telemetry: in process', () => {
  it('keeps the newest events, oldest first', async () => {
    const telemetry = createTelemetry({ limits: { eventsMax: 3 } });
    for (const [i, action] of ['a', 'b', 'c', 'd', 'e'].entries())
      telemetry.publishEvent(event(action, i + 1));
    expect(await actions(telemetry, {})).to.deep.equal(['c', 'd', 'e']);
  });

  it('cuts history at both ends, ends included', async () => {
    const telemetry = createTelemetry();
    for (const [i, action] of ['a', 'b', 'c', 'd'].entries()) telemetry.publishEvent(event(action, i + 1));
    expect(await actions(telemetry, { sinceNano: 2_000_000n, untilNano: 3_000_000n })).to.deep.equal([
      'b',
      'c',
    ]);
  });

  it('follows after history, each event once, and ends when told', async () => {
    const telemetry = createTelemetry();
    const abort = new AbortController();
    telemetry.publishEvent(event('old', 1));
    const found: string[] = [];
    for await (const each of telemetry.events({ sinceNano: 0n, follow: true, signal: abort.signal })) {
      found.push(each.Action);
      if (found.length === 1) telemetry.publishEvent(event('new', 2));
      if (found.length === 2) abort.abort();
    }
    expect(found).to.deep.equal(['old', 'new']);
  });

  it('shows only what comes when nothing else is asked for', async () => {
    const telemetry = createTelemetry();
    telemetry.publishEvent(event('old', 1));
    const events = telemetry.events({ follow: true, signal: new AbortController().signal });
    const iterator = events[Symbol.asyncIterator]();
    const next = iterator.next();
    telemetry.publishEvent(event('new', 2));
    expect((await next).value?.Action).to.equal('new');
    await telemetry.close();
    expect((await iterator.next()).done).to.equal(true);
  });

  it('drops the oldest for a reader that does not read, and counts', async () => {
    const telemetry = createTelemetry({ limits: { readerQueueMax: 2 } });
    const events = telemetry.events({ follow: true, signal: new AbortController().signal });
    const iterator = events[Symbol.asyncIterator]();
    const first = iterator.next();
    for (const [i, action] of ['a', 'b', 'c', 'd'].entries()) telemetry.publishEvent(event(action, i + 1));
    const got = [(await first).value?.Action, (await iterator.next()).value?.Action];
    expect(got).to.deep.equal(['c', 'd']);
    expect(telemetry.health()).to.deep.equal({ kind: 'memory', connected: true, dropped: 2 });
  });

  it('bounds samples per container and containers', async () => {
    const telemetry = createTelemetry({ limits: { statsPerContainerMax: 2, statsContainersMax: 2 } });
    for (const at of [1, 2, 3]) telemetry.publishStats(sample('a', at));
    expect((await telemetry.stats('a', { sinceMs: 0 })).map((each) => each.atMs)).to.deep.equal([2, 3]);
    expect(await telemetry.stats('a', { sinceMs: 3 })).to.deep.equal([sample('a', 3)]);
    telemetry.publishStats(sample('b', 4));
    telemetry.publishStats(sample('a', 5));
    telemetry.publishStats(sample('c', 6));
    expect(await telemetry.stats('b', { sinceMs: 0 })).to.deep.equal([]);
    expect(await telemetry.stats('a', { sinceMs: 0 })).to.have.length(2);
  });

  it('refuses an address that is none', () => {
    expect(() => createTelemetry({ url: 'http://somewhere' })).to.throw('redis://');
  });
});
