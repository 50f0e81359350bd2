import type { ClusterEvent } from '#libs/model';
import { expect } from 'chai';
import { eventMatches, parseEventQuery, parseTimestamp, presentEvent, rfc3339Nano } from './events.js';
import { parseFilters } from './filters.js';

const died: ClusterEvent = {
  Type: 'container',
  Action: 'exec_start: ls -l',
  Actor: { ID: 'abcdef', Attributes: { name: 'web.1.x', image: 'reg:5000/demo:1', color: 'red' } },
  scope: 'local',
  time: 1_700_000_000,
  timeNano: 1_700_000_000_000_000_000,
};

describe('events', () => {
  const table: [string, boolean][] = [
    ['{}', true],
    ['{"type":["container"]}', true],
    ['{"type":["image"]}', false],
    ['{"type":["image","container"]}', true],
    ['{"event":["exec_start"]}', true],
    ['{"event":["exec"]}', false],
    ['{"container":["web.1.x"]}', true],
    ['{"container":["abc"]}', true],
    ['{"service":["web.1.x"]}', false],
    ['{"image":["reg:5000/demo"]}', true],
    ['{"image":["reg"]}', false],
    ['{"label":["color=red"]}', true],
    ['{"label":["color=blue"]}', false],
    ['{"scope":["swarm"]}', false],
  ];
  for (const [filters, expected] of table) {
    it(`${filters} -> ${expected}`, () =>
      expect(
        eventMatches(
          died,
          parseFilters(filters, ['type', 'event', 'container', 'service', 'image', 'label', 'scope']),
        ),
      ).to.equal(expected));
  }

  it('reads times with fractions and RFC 3339', () => {
    expect(parseTimestamp('1700000000.5', 'since')).to.equal(1_700_000_000_500_000_000n);
    expect(parseTimestamp('2023-11-14T22:13:20Z', 'since')).to.equal(1_700_000_000_000_000_000n);
    expect(parseTimestamp('0', 'since')).to.equal(undefined);
    expect(() => parseTimestamp('yesterday', 'since')).to.throw('invalid since');
  });

  it('follows unless `until` has passed', () => {
    const follow = (text: string) => parseEventQuery(new URLSearchParams(text), 1_700_000_000_000).follow;
    expect([follow(''), follow('until=1700000000'), follow('until=1700000001')]).to.deep.equal([
      true,
      false,
      true,
    ]);
  });

  it('shows the older fields and the node', () => {
    expect(presentEvent({ ...died, nodeId: 'n1' as never })).to.deep.include({
      status: 'exec_start: ls -l',
      id: 'abcdef',
      from: 'reg:5000/demo:1',
    });
    expect(presentEvent({ ...died, nodeId: 'n1' as never })).to.have.nested.property(
      'Actor.Attributes.com\\.docker\\.swarm\\.node\\.id',
      'n1',
    );
  });

  it('prints times as Go does', () => {
    expect([0, 1, 120].map(rfc3339Nano)).to.deep.equal([
      '1970-01-01T00:00:00Z',
      '1970-01-01T00:00:00.001Z',
      '1970-01-01T00:00:00.12Z',
    ]);
  });
});
