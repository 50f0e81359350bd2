import type { Cluster, HeldTls, Node, NodeId } from '#libs/model';
import { createRootCa, crossSign, wantedTls } from '#libs/pki';
import { expect } from 'chai';
import { isRotationComplete, nextRenewals, renewalsAtOnceMax, shownTls } from './plan-rotation.js';

describe('what the rotation of a root needs next', () => {
  let cluster: Pick<Cluster, 'rootCa' | 'rootRotation'>;
  let old: HeldTls;
  let next: HeldTls;
  let done: HeldTls;

  before(async () => {
    const nowMs = Date.UTC(2030, 0, 1);
    const [rootCa, root] = [await createRootCa({ nowMs }), await createRootCa({ nowMs })];
    const rootRotation = { ...root, crossSignedPem: await crossSign({ by: rootCa, root, nowMs }) };
    cluster = { rootCa, rootRotation };
    old = wantedTls({ rootCa });
    next = wantedTls(cluster);
    done = wantedTls({ rootCa: rootRotation });
  });

  /** `w` a worker, `m` a manager with a certificate of its own; what they hold: old, new or nothing told yet. */
  type Word =
    | 'w:old'
    | 'w:new'
    | 'w:none'
    | 'm:old/old'
    | 'm:new/old'
    | 'm:old/new'
    | 'm:new/new'
    | 'm:new/none';
  function node(word: Word, position: number): Pick<Node, 'id' | 'manager' | 'tls' | 'managerTls'> {
    const [kind, what = ''] = word.split(':');
    const [agent, manager] = what.split('/');
    const held = (name: string | undefined): HeldTls | undefined =>
      name === 'old' ? old : name === 'new' ? next : undefined;
    const [tls, managerTls] = [held(agent), held(manager)];
    return {
      id: `n${position}` as NodeId,
      ...(kind === 'm' ? { manager: { raftId: `r${position}`, address: 'a:1' } } : {}),
      ...(tls ? { tls } : {}),
      ...(managerTls ? { managerTls } : {}),
    };
  }

  const cases: [nodes: Word[], connected: number[], renew: number[], complete: boolean][] = [
    [['w:old', 'w:old'], [0, 1], [0, 1], false],
    [['w:new', 'w:old'], [0, 1], [1], false],
    // A node that is down keeps it going, and is not waited for by the others.
    [['w:old', 'w:old', 'w:new'], [1, 2], [1], false],
    [['w:new', 'w:old'], [0], [], false],
    // One that has just joined has told nothing yet.
    [['w:new', 'w:none'], [0, 1], [1], false],
    [['w:new', 'w:none'], [0], [], false],
    [['w:new', 'w:new'], [], [], true],
    // A manager is two: its process renews by itself.
    [['m:new/old', 'w:new'], [0, 1], [], false],
    [['m:old/new', 'w:new'], [0, 1], [0], false],
    [['m:new/none'], [0], [], false],
    [['m:new/new', 'w:new'], [0, 1], [], true],
  ];
  for (const [words, connected, renew, complete] of cases) {
    const of = connected.length === 0 ? 'none connected' : `${connected.join(', ')} connected`;
    it(`${words.join(' ')}, ${of}: renews ${renew.join(', ') || 'nobody'}${complete ? ', and ends' : ''}`, () => {
      const view = { cluster, nodes: words.map(node) };
      const ids = new Set(connected.map((position) => `n${position}` as NodeId));
      expect([...nextRenewals(view, ids)]).to.deep.equal(renew.map((position) => `n${position}`));
      expect(isRotationComplete(view)).to.equal(complete);
    });
  }

  it('a worker that was a manager once is not held up by what its manager held', () => {
    const was = { ...node('m:new/old', 0), manager: undefined as never };
    expect(isRotationComplete({ cluster, nodes: [was] })).to.equal(true);
  });

  it('ends nothing where none is under way, but renews what another root has issued', () => {
    const view = { cluster: { rootCa: cluster.rootCa }, nodes: [node('w:new', 0), node('w:old', 1)] };
    expect(isRotationComplete(view)).to.equal(false);
    expect([...nextRenewals(view, new Set(['n0', 'n1'] as NodeId[]))]).to.deep.equal(['n0']);
  });

  it('renews so many at once', () => {
    const nodes = Array.from({ length: 100 }, (_, position) => node('w:old', position));
    const turn = nextRenewals({ cluster, nodes }, new Set(nodes.map(({ id }) => id)));
    expect(turn.size).to.equal(renewalsAtOnceMax);
  });

  it('shows a manager as far as that one of its two certificates that is behind', () => {
    const manager = { raftId: 'r', address: 'a:1' };
    expect(shownTls({ manager, tls: next, managerTls: old }, next)).to.deep.equal(old);
    expect(shownTls({ manager, tls: old, managerTls: next }, next)).to.deep.equal(old);
    expect(shownTls({ manager, tls: done, managerTls: next }, done)).to.deep.equal(next);
    expect(shownTls({ manager, tls: done, managerTls: done }, done)).to.deep.equal(done);
    expect(shownTls({ tls: next, managerTls: old }, next)).to.deep.equal(next);
    expect(shownTls({}, next)).to.equal(undefined);
  });
});
