/** Docker's routes that this version does not have: each answers 501 naming its feature, never a silent success. */
import type { Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';

type Missing = readonly [Route['method'], string, string];

const missing: readonly Missing[] = [
  ['POST', '/build', 'docker build'],
  ['POST', '/build/prune', 'docker builder prune'],
  ['POST', '/build/cancel', 'docker build'],
  ['POST', '/session', 'docker build with BuildKit'],
  ['POST', '/grpc', 'docker build with BuildKit'],
  ['POST', '/images/:name+/push', 'docker push'],
  ['GET', '/images/search', 'docker search'],
  ['GET', '/images/get', 'docker save'],
  ['GET', '/images/:name+/get', 'docker save'],
  ['POST', '/images/prune', 'docker image prune'],
  ['POST', '/networks/create', 'docker network create without --driver overlay'],
  ['POST', '/networks/prune', 'docker network prune'],
  ['PUT', '/volumes/:name', 'docker volume update'],
  ['GET', '/plugins/privileges', 'docker plugin install'],
  ['POST', '/plugins/pull', 'docker plugin install'],
  ['DELETE', '/plugins/:name+', 'docker plugin rm'],
  ['POST', '/plugins/:name+/enable', 'docker plugin enable'],
  ['POST', '/plugins/:name+/disable', 'docker plugin disable'],
  ['POST', '/plugins/:name+/upgrade', 'docker plugin upgrade'],
  ['POST', '/plugins/create', 'docker plugin create'],
  ['POST', '/plugins/:name+/push', 'docker plugin push'],
  ['POST', '/plugins/:name+/set', 'docker plugin set'],
];

/** The routes of the list above that `present` does not answer already. */
export function notThereYetRoutes(present: readonly Route[]): Route[] {
  const shapes = new Set(present.map((route) => shapeOf(route.method, route.path)));
  return missing
    .filter(([method, path]) => !shapes.has(shapeOf(method, path)))
    .map(([method, path, feature]) => ({
      method,
      path,
      async handler() {
        throw new EnxameError('not-implemented', `${feature} is not implemented yet (${method} ${path})`);
      },
    }));
}

/** Two paths are the same place whatever their parameters are called. */
function shapeOf(method: string, path: string): string {
  return `${method} ${path.replace(/:[A-Za-z]+/g, ':')}`;
}
