import type { RevisionId, ServiceId, TaskSpec } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { TemplateComparison } from './template.js';

function comparisonOf(templates: Record<string, TaskSpec>): TemplateComparison {
  const revisions = Object.entries(templates).map(([id, taskTemplate]) => ({
    id: id as RevisionId,
    serviceId: 's' as ServiceId,
    serviceName: 's',
    serviceLabels: {},
    taskTemplate,
  }));
  return new TemplateComparison(viewOf({ revisions }));
}

describe('comparing task templates', () => {
  const [a, b] = ['a' as RevisionId, 'b' as RevisionId];
  const cases: { what: string; a: TaskSpec; b: TaskSpec; same: boolean; butForConstraints: boolean }[] = [
    {
      what: 'the order of keys and empty members mean nothing',
      a: { ContainerSpec: { Image: 'x', Env: ['A=1'] }, ForceUpdate: 0, Resources: {} },
      b: { ForceUpdate: 0, ContainerSpec: { Env: ['A=1'], Image: 'x' } },
      same: true,
      butForConstraints: true,
    },
    {
      what: 'the order of lists does',
      a: { ContainerSpec: { Image: 'x', Env: ['A=1', 'B=2'] } },
      b: { ContainerSpec: { Image: 'x', Env: ['B=2', 'A=1'] } },
      same: false,
      butForConstraints: false,
    },
    {
      what: 'constraints bind where a task is, not what it runs',
      a: { ContainerSpec: { Image: 'x' }, Placement: { Constraints: ['node.role==manager'] } },
      b: { ContainerSpec: { Image: 'x' } },
      same: false,
      butForConstraints: true,
    },
    {
      what: 'a forced update is a change',
      a: { ContainerSpec: { Image: 'x' }, ForceUpdate: 1 },
      b: { ContainerSpec: { Image: 'x' }, ForceUpdate: 2 },
      same: false,
      butForConstraints: false,
    },
  ];
  for (const { what, same, butForConstraints, ...templates } of cases) {
    it(what, () => {
      const comparison = comparisonOf(templates);
      expect(comparison.same(a, b)).to.equal(same);
      expect(comparison.sameButForConstraints(a, b)).to.equal(butForConstraints);
    });
  }

  it('takes a template that is not there as equal to itself only', () => {
    const comparison = comparisonOf({ a: {} });
    expect(comparison.same(b, b)).to.equal(true);
    expect(comparison.same(a, b)).to.equal(false);
  });
});
