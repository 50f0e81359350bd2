import { Type } from 'class-transformer';
import { IsArray, IsInt, IsObject, IsOptional, IsString, ValidateNested } from 'class-validator';
import { expect } from 'chai';
import { validateBody } from './validation.js';

class Port {
  @IsOptional()
  @IsInt()
  TargetPort?: number;
}

class Spec {
  @IsString()
  Name!: string;

  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => Port)
  Ports?: Port[];

  @IsOptional()
  @IsObject()
  Labels?: Record<string, string>;
}

describe('validateBody', () => {
  it('drops unknown fields at every depth and keeps what is declared', () => {
    const body = { Name: 'web', Extra: 1, Ports: [{ TargetPort: 80, Other: 'x' }] };
    expect(JSON.parse(JSON.stringify(validateBody(Spec, body)))).to.deep.equal({
      Name: 'web',
      Ports: [{ TargetPort: 80 }],
    });
  });

  it('takes names in any case, as Go does, but for those of maps', () => {
    const body = {
      name: 'web',
      pORTS: [{ targetport: 80 }, { TargetPort: 81, targetPort: 82 }],
      LABELS: { targetport: 'x' },
      constructor: { name: 'y' },
    };
    expect(JSON.parse(JSON.stringify(validateBody(Spec, body)))).to.deep.equal({
      Name: 'web',
      Ports: [{ TargetPort: 80 }, { TargetPort: 81 }],
      Labels: { targetport: 'x' },
    });
    expect(() => validateBody(Spec, { name: 1 })).to.throw('invalid Name: must be a string');
  });

  let deep: unknown = {};
  for (let depth = 0; depth < 100_000; depth++) deep = [deep];
  const bad: [string, unknown, string][] = [
    ['a list', [], 'the request body must be a JSON object'],
    ['nothing', undefined, 'the request body must be a JSON object'],
    ['a wrong type', { Name: 1 }, 'invalid Name: must be a string'],
    [
      'a wrong type deep inside',
      { Name: 'web', Ports: [{ TargetPort: 1 }, { TargetPort: 'x' }] },
      'invalid Ports[1].TargetPort: must be an integer number',
    ],
    ['an object for a list', { Name: 'web', Ports: { a: 1 } }, 'invalid Ports: must be an array'],
    ['endless nesting', { Name: 'web', Ports: deep }, 'nested deeper than 32 levels'],
  ];
  for (const [what, body, message] of bad) {
    it(`refuses ${what}`, () => expect(() => validateBody(Spec, body)).to.throw(message));
  }

  it('does not let a body reach the prototype', () => {
    const body: unknown = JSON.parse('{"Name":"web","__proto__":{"polluted":true}}');
    validateBody(Spec, body);
    expect(({} as Record<string, unknown>)['polluted']).to.equal(undefined);
  });
});
