import type { ImageEvent } from '#libs/images';
import type { ClusterEvent, NodeId } from '#libs/model';
import type { ContainerState, RuntimeEvent } from '#libs/runtime';
import { createTelemetry } from '#libs/telemetry';
import { expect } from 'chai';
import { NodeEvents } from './node-events.js';

const atMs = 1_700_000_000_500;
const id = 'a'.repeat(64) as never;
const state = {
  config: { id, name: 'web.1.t1', labels: { tier: 'front' }, image: { reference: 'demo:1' } },
} as unknown as ContainerState;

describe('NodeEvents', () => {
  it('tells what happens to containers and images, the last of a container included', () => {
    let onContainer: ((event: RuntimeEvent) => void) | undefined;
    let onImage: ((event: ImageEvent) => void) | undefined;
    let present = true;
    const events = new NodeEvents({
      nodeId: () => 'n1' as NodeId,
      runtime: {
        watch: (listener) => {
          onContainer = listener;
          return () => undefined;
        },
        get: () => (present ? state : undefined),
        list: () => [],
      },
      images: {
        watch: (listener) => {
          onImage = listener;
          return () => undefined;
        },
      },
      telemetry: createTelemetry({}),
      nowMs: () => atMs,
    });
    const seen: ClusterEvent[] = [];
    events.watch((event) => seen.push(event));
    events.start();
    onContainer?.({ type: 'create', id, atMs });
    onContainer?.({ type: 'exec_start', id, atMs, execId: 'e1', argv: ['ls', '-l'] });
    onContainer?.({ type: 'health', id, atMs, status: 'healthy' });
    onContainer?.({ type: 'die', id, atMs, exit: { exitCode: 137, oomKilled: false, finishedAtMs: atMs } });
    present = false;
    onContainer?.({ type: 'destroy', id, atMs });
    onImage?.({ type: 'load', id: 'sha256:1', name: 'demo:1', atMs });

    const own = { tier: 'front', image: 'demo:1', name: 'web.1.t1' };
    expect(seen.map(({ Type, Action, Actor }) => [Type, Action, Actor.Attributes])).to.deep.equal([
      ['container', 'create', own],
      ['container', 'exec_start: ls -l', { ...own, execID: 'e1' }],
      ['container', 'health_status: healthy', own],
      ['container', 'die', { ...own, exitCode: '137' }],
      ['container', 'destroy', own],
      ['image', 'load', { name: 'demo:1' }],
    ]);
    expect(seen[0]).to.deep.include({ scope: 'local', time: 1_700_000_000, nodeId: 'n1' });
  });
});
