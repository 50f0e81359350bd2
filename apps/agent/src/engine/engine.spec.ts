import { createRouteTable } from '#libs/docker-api';
import { expect } from 'chai';
import { engineRoutes, type EngineOptions } from './engine.js';

/** Whatever is asked of it is a function that does nothing: the engine is only put together here. */
const nothing: object = new Proxy({}, { get: () => () => undefined });

describe('the engine of a node', () => {
  it('answers every place of the API once', () => {
    const engine = engineRoutes(new Proxy({}, { get: () => nothing }) as unknown as EngineOptions);
    expect(() => createRouteTable(engine.routes)).to.not.throw();
  });
});
