/** The demo of `npm start`: loads the demo image through the Docker API and declares a service of three replicas. */
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { callEngine, readEngine, waitFor } from './dev/engine-client.js';

const projectRoot = fileURLToPath(new URL('../../', import.meta.url));
const imageFolder = join(projectRoot, 'build/demo');
export const demoPort = 8080;
const replicas = 3;
const runningTimeoutMs = 30_000;

const demoService = {
  Name: 'demo',
  TaskTemplate: {
    ContainerSpec: {
      Image: 'enxame/demo:1',
      Env: ['DEMO_SERVICE={{.Service.Name}}', 'DEMO_TASK={{.Task.Name}}', 'DEMO_NODE={{.Node.Hostname}}'],
    },
    RestartPolicy: { Condition: 'any', Delay: 0 },
  },
  Mode: { Replicated: { Replicas: replicas } },
  UpdateConfig: { Parallelism: 1, Order: 'start-first', FailureAction: 'rollback' },
  EndpointSpec: {
    Ports: [{ Protocol: 'tcp', TargetPort: 8080, PublishedPort: demoPort, PublishMode: 'ingress' }],
  },
};

/** Idempotent: a cluster whose state already holds the demo keeps it as it is. */
export async function deployDemo(socketPath: string): Promise<void> {
  const found = await callEngine({ socketPath, method: 'GET', path: '/services/demo', timeoutMs: 10_000 });
  for (const file of demoArchives()) await loadImage(socketPath, file);
  if (found.status === 404) {
    const answer = await callEngine({
      socketPath,
      method: 'POST',
      path: '/services/create',
      body: demoService,
      timeoutMs: 10_000,
    });
    if (answer.status !== 201) throw new Error(`creating the demo service: ${answer.status} ${answer.body}`);
  }
  await waitFor('running of the demo service', runningTimeoutMs, async () => {
    const [service] = await readEngine<{ ServiceStatus: { RunningTasks: number; DesiredTasks: number } }[]>(
      socketPath,
      `/services?status=true&filters=${encodeURIComponent('{"name":["demo"]}')}`,
    );
    const status = service?.ServiceStatus;
    return status && status.RunningTasks >= status.DesiredTasks ? true : undefined;
  });
}

function demoArchives(): string[] {
  if (!existsSync(imageFolder)) throw new Error(`${imageFolder} is missing; run: npm run setup`);
  return readdirSync(imageFolder)
    .filter((name) => name.endsWith('.tar'))
    .map((name) => join(imageFolder, name));
}

function loadImage(socketPath: string, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        method: 'POST',
        path: '/images/load?quiet=1',
        agent: false,
        headers: { 'content-type': 'application/x-tar' },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200 && !text.includes('"error"')) resolve();
          else reject(new Error(`loading ${file}: ${text.trim()}`));
        });
      },
    );
    call.on('error', reject);
    createReadStream(file).on('error', reject).pipe(call);
  });
}
